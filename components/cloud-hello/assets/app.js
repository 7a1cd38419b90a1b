// Keeps the numbers of the page fresh. It draws nothing of its own: the server decides what
// there is to see, and this copies it into the page. Ids and attributes: see the README.
"use strict";
(() => {
  const EVERY_MS = 2000;
  const DEADLINE_MS = 5000;
  const SVG = "http://www.w3.org/2000/svg";
  const page = document.body.dataset.region;
  const byId = (id) => document.getElementById(id);
  const live = byId("live");

  // JSON numbers above 2^53 arrive rounded; say so instead of pretending.
  const number = (n) =>
    (Number.isSafeInteger(n) ? "" : "≈ ") + n.toLocaleString("en-US", { useGrouping: true });

  const bytes = new Intl.NumberFormat("en-US", {
    notation: "compact",
    style: "unit",
    unit: "byte",
    unitDisplay: "narrow",
  });

  const setText = (element, text) => {
    if (element && element.textContent !== text) element.textContent = text;
  };

  const setValue = (element, n) => {
    if (!element) return;
    element.dataset.value = String(n);
    setText(element, number(n));
  };

  // How every region keeps in step, by its code; null while there is nothing to say about it.
  let members = null;
  const words = new Map([
    ["in-step", "in step"],
    ["silent", "silent"],
    ["evicted", "evicted"],
    ["old-copy", "starting anew"],
    ["differs", "being repaired"],
    ["unknown", "not known"],
  ]);

  const say = (state, text) => {
    live.hidden = false;
    live.dataset.state = state;
    setText(live, text);
  };

  function fillTable(id, attribute, items, total, show) {
    const body = byId(id).tBodies[0];
    const rows = new Map([...body.rows].map((row) => [row.dataset[attribute], row]));
    const pattern = body.rows[0];
    const order = items.map((item) => {
      const key = item[attribute];
      let row = rows.get(key);
      if (!row) {
        if (!pattern) return null;
        row = pattern.cloneNode(true);
        row.dataset[attribute] = key;
        row.dataset.you = "false";
        row.querySelector(".you")?.remove();
        const [label, detail] = show(item);
        setText(row.querySelector(".label"), label);
        setText(row.querySelector(".detail"), detail ?? "");
      }
      rows.delete(key);
      setValue(row.querySelector(".count"), item.visits);
      const percent = (Math.min(100, (100 * item.visits) / Math.max(1, total))).toFixed(1);
      setText(row.querySelector(".percent"), percent + "%");
      row.querySelector("rect").setAttribute("width", percent);
      return row;
    }).filter(Boolean);
    for (const [key, row] of rows) {
      // A row the answer does not know has no visits; the visitor's own rows stay.
      if (row.dataset.you === "true") order.push(row);
      else row.remove();
    }
    order.forEach((row, index) => {
      if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
    });
    setValue(byId(id).tFoot.querySelector(".total"), total);
  }

  function draw(tag, attributes, text) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function fillMap(regions, serving) {
    const dots = byId("map-dots");
    const known = new Map([...dots.children].map((dot) => [dot.dataset.region, dot]));
    for (const region of regions) {
      if (!region.dot) continue;
      const { x, y, r, label } = region.dot;
      let dot = known.get(region.region);
      if (!dot) {
        dot = draw("g", { class: "dot", "data-region": region.region });
        dot.append(
          draw("title", {}),
          draw("circle", { class: "halo" }),
          draw("circle", { class: "core" }),
        );
        dots.prepend(dot);
      }
      known.delete(region.region);
      dot.dataset.serving = String(region.region === serving);
      setText(
        dot.querySelector("title"),
        `${region.city} (${region.region}): ${number(region.visits)} visits`,
      );
      for (const circle of dot.querySelectorAll("circle")) {
        circle.setAttribute("cx", x);
        circle.setAttribute("cy", y);
        circle.setAttribute("r", r);
      }
      let text = dot.querySelector("text");
      if (!label) {
        text?.remove();
      } else {
        if (!text) dot.append((text = draw("text", {}, region.region)));
        text.setAttribute("x", label.x);
        text.setAttribute("y", label.y);
        text.setAttribute("text-anchor", label.anchor);
      }
    }
    for (const dot of known.values()) dot.remove();
    const lit = dots.querySelector('[data-serving="true"]');
    if (lit && lit !== dots.lastElementChild) dots.append(lit);
    const elsewhere = regions.filter((region) => !region.dot).map((region) => region.region);
    byId("elsewhere").hidden = elsewhere.length === 0;
    setText(byId("elsewhere").querySelector(".regions"), elsewhere.join(", "));
  }

  function fill(data) {
    const serving = data.serving.region;
    setValue(byId("total-visits"), data.visits);
    setValue(byId("region-count"), data.regions.length);
    byId("at-least").hidden = !data.at_least;
    byId("notice-partial").hidden = !data.at_least;
    const unreadable = byId("notice-unreadable");
    unreadable.hidden = data.unreadable === 0;
    unreadable.dataset.count = String(data.unreadable);
    setText(unreadable.querySelector(".count"), String(data.unreadable));
    fillTable("regions", "region", data.regions, data.visits, (r) => [r.region, r.city]);
    // A new row is a copy of another one.
    labelRows();
    fillTable("operating-systems", "os", data.operating_systems, data.visits, (o) => [o.name]);
    fillTable("browsers", "browser", data.browsers, data.visits, (b) => [b.name]);
    fillMap(data.regions, serving);
    live.dataset.region = serving;
    say(
      serving === page ? "live" : "moved",
      serving === page
        ? `Live from ${serving}`
        : `Live from ${serving}; this page came from ${page}`,
    );
  }

  // "in step", "3 behind", "3 behind, silent".
  function describe({ state, behind_operations: behind }) {
    const parts = behind > 0 ? [`${number(behind)} behind`] : [];
    if (state !== "behind") parts.push(words.get(state) ?? "not known");
    return parts.join(", ");
  }

  function labelRows() {
    for (const row of byId("regions").tBodies[0].rows) {
      const label = row.querySelector(".sync");
      // While versions are mixed, a page may get the script of another one.
      if (!label) continue;
      const member = members?.get(row.dataset.region);
      label.hidden = !member;
      label.dataset.state = member?.state ?? "";
      label.dataset.behind = String(member?.behind_operations ?? "");
      setText(label, member ? describe(member) : "");
    }
  }

  function sumUp() {
    const known = [...members.values()];
    const inStep = known.filter((member) => member.state === "in-step").length;
    if (known.every((member) => member.state === "unknown")) return "Not known right now";
    if (known.length === 1) return "No other region yet";
    if (inStep === known.length) return `All ${known.length} regions are in step`;
    return `${inStep} of ${known.length} regions in step`;
  }

  const setFact = (id, n, text) => {
    byId(id).dataset.value = String(n ?? "");
    setText(byId(id), n === null ? "not known" : text(n));
  };

  function fillReplication(data) {
    const section = byId("replication");
    if (!section) return;
    section.hidden = data.mode !== "replicated";
    members = section.hidden
      ? null
      : new Map(data.regions.map((region) => [region.region, region]));
    labelRows();
    if (section.hidden) return;
    section.dataset.region = data.region;
    setText(section.querySelector(".region"), data.region);
    setText(byId("sync"), sumUp());
    setFact("conflicts", data.conflicts.resolved, number);
    setFact("quarantined", data.quarantined?.length ?? null, number);
    setFact("sent", data.sent_bytes, (n) => bytes.format(n));
  }

  // What was true at the last answer may not be any more.
  function loseReplication() {
    if (!members) return;
    for (const region of members.keys()) members.set(region, { state: "unknown" });
    labelRows();
    setText(byId("sync"), sumUp());
  }

  async function ask(path) {
    const response = await fetch(path, {
      cache: "no-store",
      credentials: "omit",
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const data = await response.json();
    if (data.version !== 1) throw new Error("a version this page does not know");
    return data;
  }

  async function keepFresh() {
    if (!document.hidden) {
      // Neither waits for the other, nor fails with it.
      await Promise.allSettled([
        ask("/api/regions")
          .then(fill)
          .catch(() => say("reconnecting", "Reconnecting… the numbers are from the last answer")),
        ask("/api/replication").then(fillReplication).catch(loseReplication),
      ]);
    }
    setTimeout(keepFresh, EVERY_MS);
  }

  setTimeout(keepFresh, EVERY_MS);
})();
