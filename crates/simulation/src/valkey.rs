//! A Valkey in memory: the commands that the script uses, and a Lua interpreter that runs the very script.
//!
//! A fake, for the simulation only: one value can be copied in an instant, which is what a
//! disk that is set back is. The real server runs the same script in the provider's own tests.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use anyhow::{anyhow, bail, ensure, Context as _, Result};
use bytes::Bytes;
use mlua::{Function, Lua, MultiValue, Table, Value as LuaValue};
use replica::store::Value;

type Text = Vec<u8>;

/// What lies in one store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Data(BTreeMap<Text, Item>);

#[derive(Clone, Debug, PartialEq)]
enum Item {
    Text(Text),
    Hash(BTreeMap<Text, Text>),
    Sorted(Sorted),
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Sorted {
    scores: BTreeMap<Text, u64>,
    order: BTreeSet<(u64, Text)>,
}

impl Data {
    /// A plain value.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        match self.0.get(key.as_bytes()) {
            Some(Item::Text(value)) => Some(value),
            _ => None,
        }
    }

    /// Stores a plain value, as somebody does who knows nothing of replication.
    pub fn set(&mut self, key: &str, value: &[u8]) {
        self.0.insert(key.into(), Item::Text(value.to_vec()));
    }

    /// Removes a plain value, as somebody does who knows nothing of replication.
    pub fn remove(&mut self, key: &str) {
        self.0.remove(key.as_bytes());
    }

    /// The plain values of components.
    pub fn visible(&self) -> BTreeMap<String, Text> {
        self.0
            .iter()
            .filter_map(|(key, item)| match item {
                Item::Text(value) if !key.starts_with(b"@kv/r/") => {
                    Some((String::from_utf8_lossy(key).into_owned(), value.clone()))
                }
                _ => None,
            })
            .collect()
    }

    /// A hash, field by field.
    pub fn hash(&self, key: &str) -> BTreeMap<String, String> {
        let lossy = |text: &Text| String::from_utf8_lossy(text).into_owned();
        match self.0.get(key.as_bytes()) {
            Some(Item::Hash(fields)) => fields
                .iter()
                .map(|(name, field)| (lossy(name), lossy(field)))
                .collect(),
            _ => BTreeMap::new(),
        }
    }

    /// The members of a sorted set.
    pub fn sorted(&self, key: &str) -> BTreeSet<String> {
        match self.0.get(key.as_bytes()) {
            Some(Item::Sorted(sorted)) => sorted
                .scores
                .keys()
                .map(|member| String::from_utf8_lossy(member).into_owned())
                .collect(),
            _ => BTreeSet::new(),
        }
    }

    fn hash_mut(&mut self, key: &[u8]) -> Result<&mut BTreeMap<Text, Text>> {
        let item = self
            .0
            .entry(key.to_vec())
            .or_insert_with(|| Item::Hash(BTreeMap::new()));
        match item {
            Item::Hash(fields) => Ok(fields),
            _ => bail!("WRONGTYPE"),
        }
    }

    fn sorted_mut(&mut self, key: &[u8]) -> Result<&mut Sorted> {
        let item = self
            .0
            .entry(key.to_vec())
            .or_insert_with(|| Item::Sorted(Sorted::default()));
        match item {
            Item::Sorted(sorted) => Ok(sorted),
            _ => bail!("WRONGTYPE"),
        }
    }

    fn drop_empty(&mut self, key: &[u8]) {
        let empty = match self.0.get(key) {
            Some(Item::Hash(fields)) => fields.is_empty(),
            Some(Item::Sorted(sorted)) => sorted.scores.is_empty(),
            _ => false,
        };
        if empty {
            self.0.remove(key);
        }
    }
}

/// A reply within a script.
enum Reply {
    Nil,
    Status(&'static str),
    Number(i64),
    Text(Text),
    List(Vec<Reply>),
}

fn count(number: usize) -> Reply {
    Reply::Number(i64::try_from(number).unwrap_or(i64::MAX))
}

fn score(text: &[u8]) -> Result<u64> {
    std::str::from_utf8(text)?
        .parse()
        .context("a score is a whole number here")
}

fn run(data: &mut Data, command: &[Text]) -> Result<Reply> {
    let name = command.first().context("a command")?.as_slice();
    let arguments = &command[1..];
    let key = arguments.first().map(Vec::as_slice).unwrap_or_default();
    Ok(match (name, &arguments[1.min(arguments.len())..]) {
        (b"GET", []) => match data.0.get(key) {
            None => Reply::Nil,
            Some(Item::Text(value)) => Reply::Text(value.clone()),
            Some(_) => bail!("WRONGTYPE"),
        },
        (b"MGET", _) => {
            let value = |key: &Text| match data.0.get(key) {
                Some(Item::Text(value)) => Reply::Text(value.clone()),
                _ => Reply::Nil,
            };
            Reply::List(arguments.iter().map(value).collect())
        }
        (b"MSET", _) => {
            ensure!(arguments.len().is_multiple_of(2), "MSET takes pairs");
            for pair in arguments.chunks(2) {
                let value = Item::Text(pair[1].clone());
                data.0.insert(pair[0].clone(), value);
            }
            Reply::Status("OK")
        }
        (b"SET", [value, ..]) => {
            data.0.insert(key.to_vec(), Item::Text(value.clone()));
            Reply::Status("OK")
        }
        (b"DEL", _) => count(
            arguments
                .iter()
                .filter(|key| data.0.remove(*key).is_some())
                .count(),
        ),
        (b"TYPE", []) => Reply::Status(match data.0.get(key) {
            None => "none",
            Some(Item::Text(_)) => "string",
            Some(Item::Hash(_)) => "hash",
            Some(Item::Sorted(_)) => "zset",
        }),
        // Nobody gives up a region here.
        (b"SMEMBERS", []) => Reply::List(Vec::new()),
        (b"PERSIST", []) => count(0),
        (b"EXISTS", []) => count(usize::from(data.0.contains_key(key))),
        (b"HGET", [field]) => match data.hash_mut(key)?.get(field) {
            Some(value) => Reply::Text(value.clone()),
            None => Reply::Nil,
        },
        (b"HMGET", fields) => {
            let hash = data.hash_mut(key)?;
            let value = |field: &Text| hash.get(field).cloned().map_or(Reply::Nil, Reply::Text);
            Reply::List(fields.iter().map(value).collect())
        }
        (b"HGETALL", []) => Reply::List(
            data.hash_mut(key)?
                .iter()
                .flat_map(|(name, field)| [Reply::Text(name.clone()), Reply::Text(field.clone())])
                .collect(),
        ),
        (b"HSET", pairs) => {
            ensure!(
                pairs.len() % 2 == 0 && !pairs.is_empty(),
                "HSET takes pairs"
            );
            let hash = data.hash_mut(key)?;
            for pair in pairs.chunks(2) {
                hash.insert(pair[0].clone(), pair[1].clone());
            }
            count(pairs.len() / 2)
        }
        (b"HDEL", [field]) => count(usize::from(data.hash_mut(key)?.remove(field).is_some())),
        (b"HINCRBY", [field, by]) => {
            let hash = data.hash_mut(key)?;
            let old = hash.get(field).map_or(Ok(0), |value| score(value))?;
            let new = old + score(by)?;
            hash.insert(field.clone(), new.to_string().into());
            Reply::Number(i64::try_from(new)?)
        }
        (b"ZADD", pairs) => {
            ensure!(
                pairs.len() % 2 == 0 && !pairs.is_empty(),
                "ZADD takes pairs"
            );
            let sorted = data.sorted_mut(key)?;
            for pair in pairs.chunks(2) {
                let (at, member) = (score(&pair[0])?, &pair[1]);
                if let Some(old) = sorted.scores.insert(member.clone(), at) {
                    sorted.order.remove(&(old, member.clone()));
                }
                sorted.order.insert((at, member.clone()));
            }
            count(pairs.len() / 2)
        }
        (b"ZREM", [member]) => {
            let sorted = data.sorted_mut(key)?;
            let old = sorted.scores.remove(member);
            if let Some(old) = old {
                sorted.order.remove(&(old, member.clone()));
            }
            count(usize::from(old.is_some()))
        }
        (b"ZSCORE", [member]) => match data.sorted_mut(key)?.scores.get(member) {
            Some(score) => Reply::Text(score.to_string().into()),
            None => Reply::Nil,
        },
        (b"ZCARD", []) => count(data.sorted_mut(key)?.scores.len()),
        (b"ZRANGEBYSCORE", [from, to, options @ ..]) => {
            range(data.sorted_mut(key)?, from, to, options)?
        }
        _ => bail!("the fake knows no {}", String::from_utf8_lossy(name)),
    })
}

fn range(sorted: &Sorted, from: &[u8], to: &[u8], options: &[Text]) -> Result<Reply> {
    let first = match from {
        b"-inf" => 0,
        [b'(', rest @ ..] => score(rest)? + 1,
        _ => score(from)?,
    };
    let last = match to {
        b"+inf" => u64::MAX,
        _ => score(to)?,
    };
    let scores = options
        .first()
        .is_some_and(|option| option == b"WITHSCORES");
    let (skip, limit) = match &options[usize::from(scores)..] {
        [] => (0, usize::MAX),
        [name, from, limit] if name == b"LIMIT" => (
            usize::try_from(score(from)?)?,
            usize::try_from(score(limit)?)?,
        ),
        _ => bail!("the fake knows no such options"),
    };
    let mut list = Vec::new();
    let in_range = sorted.order.range((first, Vec::new())..);
    let in_range = in_range.take_while(|(at, _)| *at <= last);
    for (at, member) in in_range.skip(skip).take(limit) {
        list.push(Reply::Text(member.clone()));
        if scores {
            list.push(Reply::Text(at.to_string().into()));
        }
    }
    Ok(Reply::List(list))
}

/// A Lua interpreter that runs the script on whatever store it is given.
pub struct Interpreter {
    lua: Lua,
    script: Function,
    data: Rc<RefCell<Data>>,
}

impl std::fmt::Debug for Interpreter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interpreter")
    }
}

impl Interpreter {
    /// An interpreter for a script.
    pub fn new(script: &str) -> Result<Self> {
        let lua = Lua::new();
        let data = Rc::new(RefCell::new(Data::default()));
        let wrap = |error: mlua::Error| anyhow!("Lua: {error}");
        let shared = data.clone();
        let call = lua
            .create_function(move |lua, arguments: MultiValue| {
                let command = arguments
                    .iter()
                    .map(argument)
                    .collect::<Result<Vec<_>>>()
                    .map_err(mlua::Error::external)?;
                let key = command.get(1).cloned().unwrap_or_default();
                let mut data = shared.borrow_mut();
                let reply = run(&mut data, &command).map_err(mlua::Error::external)?;
                // Valkey has no empty collections.
                data.drop_empty(&key);
                to_lua(lua, reply)
            })
            .map_err(wrap)?;
        let redis = lua.create_table().map_err(wrap)?;
        redis.set("call", call).map_err(wrap)?;
        let error_reply = lua
            .create_function(|_, text: String| -> mlua::Result<()> {
                Err(mlua::Error::external(text))
            })
            .map_err(wrap)?;
        redis.set("error_reply", error_reply).map_err(wrap)?;
        let sha1hex = lua
            .create_function(|_, text: mlua::String| {
                Ok(sha1_smol::Sha1::from(&*text.as_bytes())
                    .digest()
                    .to_string())
            })
            .map_err(wrap)?;
        redis.set("sha1hex", sha1hex).map_err(wrap)?;
        lua.globals().set("redis", redis).map_err(wrap)?;
        let script = lua.load(script).into_function().map_err(wrap)?;
        Ok(Self { lua, script, data })
    }

    /// Runs the script on a store.
    pub fn run(&self, store: &mut Data, arguments: &[Bytes]) -> Result<Value> {
        std::mem::swap(store, &mut self.data.borrow_mut());
        let value = self.evaluate(arguments);
        std::mem::swap(store, &mut self.data.borrow_mut());
        value
    }

    fn evaluate(&self, arguments: &[Bytes]) -> Result<Value> {
        let wrap = |error: mlua::Error| anyhow!("Lua: {error}");
        let argv = self.lua.create_table().map_err(wrap)?;
        for argument in arguments {
            let text = self.lua.create_string(argument).map_err(wrap)?;
            argv.push(text).map_err(wrap)?;
        }
        self.lua.globals().set("ARGV", argv).map_err(wrap)?;
        let value = self.script.call::<LuaValue>(()).map_err(wrap)?;
        from_lua(&value)
    }
}

fn argument(value: &LuaValue) -> Result<Text> {
    Ok(match value {
        LuaValue::String(text) => text.as_bytes().to_vec(),
        LuaValue::Integer(number) => number.to_string().into(),
        // As Valkey's own conversion: 17 significant digits, so whole numbers must be whole.
        LuaValue::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            format!("{number:.0}").into()
        }
        other => bail!("a command's argument is a {}", other.type_name()),
    })
}

fn to_lua(lua: &Lua, reply: Reply) -> mlua::Result<LuaValue> {
    Ok(match reply {
        Reply::Nil => LuaValue::Boolean(false),
        Reply::Number(number) => LuaValue::Integer(number),
        Reply::Text(text) => LuaValue::String(lua.create_string(&text)?),
        Reply::Status(status) => {
            let table = lua.create_table()?;
            table.set("ok", status)?;
            LuaValue::Table(table)
        }
        Reply::List(list) => {
            let table: Table = lua.create_table()?;
            for (at, reply) in list.into_iter().enumerate() {
                table.set(at + 1, to_lua(lua, reply)?)?;
            }
            LuaValue::Table(table)
        }
    })
}

fn from_lua(value: &LuaValue) -> Result<Value> {
    Ok(match value {
        LuaValue::String(text) => Value::Bytes(Bytes::copy_from_slice(&text.as_bytes())),
        LuaValue::Table(table) => Value::Array(
            table
                .sequence_values::<LuaValue>()
                .map(|value| from_lua(&value.map_err(|error| anyhow!("Lua: {error}"))?))
                .collect::<Result<_>>()?,
        ),
        other => bail!("the script returned a {}", other.type_name()),
    })
}
