//! A Valkey in memory: the commands that the script uses, and a Lua interpreter that runs the very script.
//!
//! A fake, for the simulation only: one value can be copied in an instant, which is what a
//! disk that is set back is. The real server runs the same script in the provider's own tests.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
    List(VecDeque<Text>),
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

    /// Carries out a command, as somebody does who knows nothing of replication.
    pub fn command(&mut self, command: &[&str]) -> Result<()> {
        let command: Vec<Text> = command.iter().map(|&part| part.into()).collect();
        run(self, &command, b"").map(drop)
    }

    /// A list, element by element.
    pub fn list(&self, key: &str) -> Vec<String> {
        match self.0.get(key.as_bytes()) {
            Some(Item::List(list)) => list
                .iter()
                .map(|element| String::from_utf8_lossy(element).into_owned())
                .collect(),
            _ => Vec::new(),
        }
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

    /// The parts of a text that are set apart by commas.
    pub fn parts(&self, key: &str) -> Vec<String> {
        let text = String::from_utf8_lossy(self.get(key).unwrap_or_default()).into_owned();
        text.split(',').map(str::to_owned).collect()
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

    /// What lies at a key; this, if nothing does.
    fn item_mut(&mut self, key: &[u8], empty: Item) -> &mut Item {
        self.0.entry(key.to_vec()).or_insert(empty)
    }

    fn hash_mut(&mut self, key: &[u8]) -> Result<&mut BTreeMap<Text, Text>> {
        match self.item_mut(key, Item::Hash(BTreeMap::new())) {
            Item::Hash(fields) => Ok(fields),
            _ => bail!("WRONGTYPE"),
        }
    }

    fn list_mut(&mut self, key: &[u8]) -> Result<&mut VecDeque<Text>> {
        match self.item_mut(key, Item::List(VecDeque::new())) {
            Item::List(list) => Ok(list),
            _ => bail!("WRONGTYPE"),
        }
    }

    fn sorted_mut(&mut self, key: &[u8]) -> Result<&mut Sorted> {
        match self.item_mut(key, Item::Sorted(Sorted::default())) {
            Item::Sorted(sorted) => Ok(sorted),
            _ => bail!("WRONGTYPE"),
        }
    }

    fn drop_empty(&mut self, key: &[u8]) {
        let empty = match self.0.get(key) {
            Some(Item::Hash(fields)) => fields.is_empty(),
            Some(Item::Sorted(sorted)) => sorted.scores.is_empty(),
            Some(Item::List(list)) => list.is_empty(),
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

/// What a server process has beside its data.
#[derive(Debug, Default)]
struct Process {
    /// By which a hash is ordered; another one in each process.
    seed: Text,
    /// Whether `maxmemory` is reached.
    full: bool,
    /// Whether the script wrote something.
    wrote: bool,
}

impl Process {
    /// As Valkey: a script may write on once it has written, so the first write decides.
    fn allows(&mut self, command: &[Text]) -> Result<()> {
        const WRITES: [&[u8]; 12] = [
            b"SET", b"MSET", b"HSET", b"HINCRBY", b"RPUSH", b"ZADD", b"DEL", b"UNLINK", b"HDEL",
            b"ZREM", b"LTRIM", b"PERSIST",
        ];
        const GROW: usize = 6;
        let name = command.first().map(Vec::as_slice).unwrap_or_default();
        let Some(at) = WRITES.iter().position(|write| *write == name) else {
            return Ok(());
        };
        ensure!(
            self.wrote || !self.full || at >= GROW,
            "OOM command not allowed when used memory > 'maxmemory'"
        );
        self.wrote = true;
        Ok(())
    }
}

fn run(data: &mut Data, command: &[Text], seed: &[u8]) -> Result<Reply> {
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
        (b"STRLEN", []) => match data.0.get(key) {
            None => count(0),
            Some(Item::Text(value)) => count(value.len()),
            Some(_) => bail!("WRONGTYPE"),
        },
        (b"DEL" | b"UNLINK", _) => count(
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
            Some(Item::List(_)) => "list",
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
        (b"HDEL", fields) => {
            let hash = data.hash_mut(key)?;
            let gone = fields.iter().filter(|field| hash.remove(*field).is_some());
            count(gone.count())
        }
        (b"HLEN", []) => count(data.hash_mut(key)?.len()),
        (b"HRANDFIELD", [most]) => {
            let most = usize::try_from(score(most)?)?;
            let fields = data.hash_mut(key)?.keys().take(most);
            Reply::List(fields.cloned().map(Reply::Text).collect())
        }
        (b"HSCAN", [cursor, name, rows]) if name == b"COUNT" => {
            scan(data.hash_mut(key)?, score(cursor)?, score(rows)?, seed)?
        }
        (b"HINCRBY", [field, by]) => {
            let hash = data.hash_mut(key)?;
            let old = hash.get(field).map_or(Ok(0), |value| score(value))?;
            let new = old + score(by)?;
            hash.insert(field.clone(), new.to_string().into());
            Reply::Number(i64::try_from(new)?)
        }
        (b"RPUSH", values) => {
            let list = data.list_mut(key)?;
            list.extend(values.iter().cloned());
            count(list.len())
        }
        (b"LLEN", []) => count(data.list_mut(key)?.len()),
        (b"LRANGE", [first, last]) => {
            let (first, last) = (score(first)?, score(last)?);
            let list = data.list_mut(key)?.iter().skip(usize::try_from(first)?);
            let list = list.take(usize::try_from((last + 1).saturating_sub(first))?);
            Reply::List(list.cloned().map(Reply::Text).collect())
        }
        (b"LTRIM", [first, last]) => {
            ensure!(last == b"-1", "LTRIM keeps the end here");
            let list = data.list_mut(key)?;
            list.drain(..usize::try_from(score(first)?)?.min(list.len()));
            Reply::Status("OK")
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
        (b"ZREM", members) => {
            let sorted = data.sorted_mut(key)?;
            let gone = members.iter().filter(|member| {
                let old = sorted.scores.remove(*member);
                old.is_some_and(|old| sorted.order.remove(&(old, (*member).clone())))
            });
            count(gone.count())
        }
        (b"ZRANGEBYSCORE", [from, to, options @ ..]) => {
            range(data.sorted_mut(key)?, from, to, options)?
        }
        _ => bail!("the fake knows no {}", String::from_utf8_lossy(name)),
    })
}

/// As Valkey's: each field that is there all along comes at least once. A field may come twice, as when the hash was made
/// smaller meanwhile: here now and then, by chance, which the number of fields decides.
fn scan(hash: &BTreeMap<Text, Text>, cursor: u64, rows: u64, seed: &[u8]) -> Result<Reply> {
    let number = |text: &[u8]| {
        let digest = sha1_smol::Sha1::from(text).digest().bytes();
        u64::from(u32::from_be_bytes([
            digest[0], digest[1], digest[2], digest[3],
        ]))
    };
    // 0 begins a scan and ends one.
    let place = |field: &[u8]| number(&[seed, field].concat()) + 1;
    let mut fields: Vec<(u64, &Text, &Text)> = hash
        .iter()
        .map(|(field, value)| (place(field), field, value))
        .filter(|(place, ..)| *place >= cursor)
        .collect();
    fields.sort_unstable();
    let rest = fields.split_off(usize::try_from(rows)?.max(2).min(fields.len()));
    let twice = number(format!("{} {cursor}", hash.len()).as_bytes()).is_multiple_of(128);
    let next = if twice { fields.last() } else { rest.first() };
    let next = next.filter(|_| !rest.is_empty());
    let next = next.map_or(0, |(place, ..)| *place);
    let fields = fields.into_iter();
    let fields = fields.flat_map(|(_, field, value)| [field.clone(), value.clone()]);
    Ok(Reply::List(vec![
        Reply::Text(next.to_string().into()),
        Reply::List(fields.map(Reply::Text).collect()),
    ]))
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
    let (skip, limit) = match options {
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
    for (_, member) in in_range.skip(skip).take(limit) {
        list.push(Reply::Text(member.clone()));
    }
    Ok(Reply::List(list))
}

/// A Lua interpreter that runs the script on whatever store it is given.
pub struct Interpreter {
    lua: Lua,
    script: Function,
    data: Rc<RefCell<Data>>,
    process: Rc<RefCell<Process>>,
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
        let process = Rc::new(RefCell::new(Process::default()));
        let (shared, running) = (data.clone(), process.clone());
        let call = lua
            .create_function(move |lua, arguments: MultiValue| {
                let command = arguments
                    .iter()
                    .map(argument)
                    .collect::<Result<Vec<_>>>()
                    .map_err(mlua::Error::external)?;
                let key = command.get(1).cloned().unwrap_or_default();
                let mut data = shared.borrow_mut();
                let mut process = running.borrow_mut();
                process.allows(&command).map_err(mlua::Error::external)?;
                let reply =
                    run(&mut data, &command, &process.seed).map_err(mlua::Error::external)?;
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
        Ok(Self {
            lua,
            script,
            data,
            process,
        })
    }

    /// Whether the stores have as much as `maxmemory` allows from now on.
    pub fn fill(&self, full: bool) {
        self.process.borrow_mut().full = full;
    }

    /// Runs the script on a store, in the process that the arguments name.
    pub fn run(&self, store: &mut Data, arguments: &[Bytes]) -> Result<Value> {
        {
            let mut process = self.process.borrow_mut();
            process.seed = arguments.get(1).map_or(Text::new(), |run| run.to_vec());
            process.wrote = false;
        }
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
