"use strict";
(() => {
  const PAGE_OF_HOSTS = 200;
  const NAMES_MAX = 20;
  const WORDS = {"+": ["has", "has"], "-": ["lacks", "lacks"], "/": ["differs", "CPUs differ"], "?": ["unknown", "unknown"]};
  const STATUS = 0, MODEL = 1, SIGNATURE = 2, MICROCODE = 3, KERNEL = 4, NOTE = 5, INCONSISTENT = 6, LABELS = 7, NAMES = 8;
  const data = JSON.parse(document.getElementById("data").textContent);
  const form = document.querySelector(".tools");
  const matrix = document.getElementById("matrix");
  const groupBody = document.getElementById("group-table").tBodies[0];
  const pages = document.querySelector(".pages");
  const number = new Intl.NumberFormat("en");

  const make = (tag, text, className) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  const count = (n, one, many = `${one}s`) => `${number.format(n)} ${n === 1 ? one : many}`;
  const order = Object.keys(data.statuses);
  const statusWord = (status) => data.statuses[status] ?? status;

  const features = [...matrix.querySelectorAll("[data-feature]")].map((row) => {
    const names = data.features[row.dataset.feature].map((name) => name.toLowerCase());
    return {row, index: +row.dataset.feature, names, search: names.join("\n"), filled: ""};
  });
  const groups = data.groups.map((group, at) => ({
    ...group,
    number: at + 1,
    row: document.getElementById(`g${at + 1}`),
    size: group.variants.reduce((sum, variant) => sum + variant[NAMES].length, 0),
    has: group.marks.split("+").length - 1,
    withoutVmx: /^-+$/.test(group.marks),
    unknown: /^\?+$/.test(group.marks),
    variants: group.variants.map((facts) => ({
      facts,
      search: [facts.slice(0, INCONSISTENT).join("\n"), statusWord(facts[STATUS]), group.fingerprint, ...facts[LABELS]].join("\n").toLowerCase(),
      names: facts[NAMES].map((name) => name.toLowerCase()),
    })),
  }));
  groups.forEach((group) => { group.members = group.row.nextElementSibling; });

  const sets = new Map(Object.entries(data.sets).map(([name, indexes]) => [name.toLowerCase(), indexes]));
  const all = groups.reduce((sum, group) => sum + group.size, 0);
  const state = {lacking: null, sort: "hosts", ascending: false, page: 0};
  const shown = [];
  let sums = [];

  /* Which hosts: every word must be in a host's name or facts. Returns those of a group as [variant, names]. */
  const wordsOf = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);

  function matching(group, wanted) {
    if (state.lacking !== null && !"-/".includes(group.marks[state.lacking])) return [];
    const found = [];
    for (const variant of group.variants) {
      const {facts, search, names} = variant;
      if (wanted.status !== "" && (facts[STATUS] || "none") !== wanted.status) continue;
      if (wanted.model !== "" && `=${facts[MODEL]}` !== wanted.model) continue;
      if (wanted.labels.some(([at, value]) => `=${facts[LABELS][at]}` !== value)) continue;
      const left = wanted.words.filter((word) => !search.includes(word));
      const hits = left.length ? facts[NAMES].filter((_, at) => left.every((word) => names[at].includes(word))) : facts[NAMES];
      if (hits.length) found.push([facts, hits]);
    }
    return found;
  }

  /* Which features: one text finds every name that it is part of; of several, a whole name finds its feature only. */
  function namedFeatures(text) {
    const parts = text.toLowerCase().replace(/^.*missing features:/s, "").split(/[,;\n]/).map((part) => part.trim()).filter(Boolean);
    if (!parts.length) return null;
    const found = new Set();
    for (const part of parts) {
      if (sets.has(part)) {
        sets.get(part).forEach((index) => found.add(index));
        continue;
      }
      const exact = parts.length > 1 ? features.filter((feature) => feature.names.includes(part)) : [];
      (exact.length ? exact : features.filter((feature) => feature.search.includes(part))).forEach((feature) => found.add(feature.index));
    }
    return found;
  }

  function tally() {
    const without = shown.reduce((sum, group) => sum + (group.withoutVmx ? group.shown : 0), 0);
    return features.map(({index}) => {
      const sums = {"+": 0, "-": 0, "/": 0, "?": 0, without};
      for (const group of shown) sums[group.marks[index]] += group.shown;
      return sums;
    });
  }

  /* Hosts without VMX lack every feature, which makes none differ. */
  const differs = (sums) => sums["/"] > 0 || (sums["+"] > 0 && sums["-"] > sums.without);

  /* A feature's row, where it is not that already. */
  function fill(feature, columns, sums) {
    const {row, index} = feature;
    const lacking = sums["-"] + sums["/"];
    const key = [columns.map((group) => group.number), sums["+"], lacking, sums["?"]].join();
    if (feature.filled === key) return;
    feature.filled = key;
    row.cells[1].textContent = number.format(sums["+"]);
    row.cells[3].textContent = number.format(sums["?"]);
    const button = make("button", number.format(lacking));
    button.type = "button";
    button.setAttribute("aria-label", `${number.format(lacking)} lack ${feature.names[0]}: show these hosts only`);
    row.cells[2].replaceChildren(lacking ? button : "0");
    while (row.cells.length > 4) row.lastElementChild.remove();
    row.append(...columns.map((group) => make("td", WORDS[group.marks[index]][1], WORDS[group.marks[index]][0])));
  }

  let headed = "";

  function fillHead(columns) {
    const key = columns.map((group) => [group.number, group.shown]).join();
    if (headed === key) return;
    headed = key;
    const row = matrix.tHead.rows[0];
    while (row.cells.length > 4) row.lastElementChild.remove();
    for (const group of columns) {
      const head = make("th", undefined, "g");
      head.scope = "col";
      const link = make("a");
      link.href = `#g${group.number}`;
      const name = make("span", ` ${group.title}`);
      name.prepend(make("b", group.number));
      link.append(name, " ", make("small", number.format(group.shown)));
      head.append(link);
      row.append(head);
    }
    matrix.querySelectorAll(".msr th").forEach((head) => { head.colSpan = 4 + columns.length; });
  }

  const ORDER = {hosts: (a, b) => a.shown - b.shown, has: (a, b) => a.has - b.has, title: (a, b) => a.title.localeCompare(b.title)};

  function sorted(shown) {
    const sign = state.ascending ? 1 : -1;
    const last = (group) => (group.unknown ? 2 : group.withoutVmx ? 1 : 0);
    return [...shown].sort((a, b) => last(a) - last(b) || sign * ORDER[state.sort](a, b) || a.number - b.number);
  }

  /* The hosts of an open group, so many at a time. */
  function listHosts(group, limit = PAGE_OF_HOSTS) {
    const place = group.members.cells[0];
    const table = make("table");
    const names = ["Host", "Status", ...data.labels, "CPU", "Microcode", "Kernel", ""];
    const head = table.createTHead().insertRow();
    names.forEach((name) => { const cell = make("th", name || "Note"); cell.scope = "col"; head.append(cell); });
    const body = table.createTBody();
    let left = limit;
    for (const [facts, hits] of group.found) {
      for (const name of hits.slice(0, Math.max(0, left))) {
        const row = body.insertRow();
        const texts = [name, statusWord(facts[STATUS]), ...facts[LABELS], facts[MODEL], facts[MICROCODE], facts[KERNEL], facts[NOTE]];
        texts.forEach((text) => row.append(make("td", text)));
        left -= 1;
      }
    }
    place.replaceChildren(table);
    if (group.shown > limit) {
      const more = make("button", `Show more of ${count(group.shown, "host")}`);
      more.type = "button";
      more.addEventListener("click", () => listHosts(group, limit + PAGE_OF_HOSTS));
      place.append(more);
    }
  }

  /* What a group's row says, of the hosts that are shown. */
  function describe(group) {
    const cells = group.row.cells;
    group.row.querySelector("b").textContent = number.format(group.shown);
    [[2, MODEL], [3, SIGNATURE], [4, MICROCODE]].forEach(([cell, fact]) => {
      const values = counted(group, fact).map(([value]) => value || "not known");
      const left = values.length - 3;
      cells[cell].textContent = values.slice(0, 3).join(", ") + (left > 0 ? `, ${left} more` : "");
    });
    const statuses = counted(group, STATUS).sort(([a], [b]) => order.indexOf(a) - order.indexOf(b));
    cells[5].replaceChildren(...statuses.map(([status, hosts]) => {
      const text = make("span", statusWord(status), "status");
      text.prepend(make("i", undefined, `s-${status in data.statuses ? status || "none" : "unknown"}`));
      if (statuses.length > 1) text.append(" ", make("small", number.format(hosts)));
      return text;
    }));
    const inconsistent = counted(group, INCONSISTENT).find(([value]) => value);
    cells[7].textContent = inconsistent ? number.format(inconsistent[1]) : "";
  }

  /* The values of a fact with their hosts, the most frequent first. */
  function counted(group, fact) {
    const counts = new Map();
    group.found.forEach(([facts, hits]) => counts.set(facts[fact], (counts.get(facts[fact]) ?? 0) + hits.length));
    return [...counts].sort((a, b) => b[1] - a[1]);
  }

  /* Choose hosts, and show their groups, where what was asked of hosts has changed. */
  let asked = "";

  function renderGroups() {
    const fields = form.elements;
    const wanted = {
      words: wordsOf(fields.host.value),
      status: fields.status.value,
      model: fields.model.value,
      labels: [...form.querySelectorAll("[data-label]")].filter((select) => select.value)
        .map((select) => [data.labels.indexOf(select.dataset.label), select.value]),
    };
    const asking = JSON.stringify([wanted, state.lacking, state.sort, state.ascending]);
    if (asking === asked) return;
    asked = asking;
    for (const group of groups) {
      group.found = matching(group, wanted);
      group.shown = group.found.reduce((sum, [, hits]) => sum + hits.length, 0);
      group.row.hidden = group.members.hidden = !group.shown;
    }
    const before = shown.map((group) => group.number).join();
    shown.splice(0, shown.length, ...sorted(groups.filter((group) => group.shown)));
    if (shown.map((group) => group.number).join() !== before) groupBody.append(...shown.flatMap((group) => [group.row, group.members]));
    for (const group of shown) {
      describe(group);
      if (group.row.querySelector("details").open) listHosts(group);
    }
    sums = tally();
    agree();
  }

  function renderColumns() {
    const last = Math.max(0, Math.ceil(shown.length / data.columns) - 1);
    state.page = Math.min(state.page, last);
    const begin = state.page * data.columns;
    const columns = shown.slice(begin, begin + data.columns);
    pages.hidden = last === 0;
    pages.querySelector("span").textContent = `groups ${begin + 1} to ${begin + columns.length} of ${shown.length}`;
    pages.querySelector('[data-step="-1"]').disabled = state.page === 0;
    pages.querySelector('[data-step="1"]').disabled = state.page === last;
    fillHead(columns);
    return columns;
  }

  function render() {
    renderGroups();
    const columns = renderColumns();
    const named = namedFeatures(form.elements.feature.value);
    const differing = form.elements.differing.checked;
    let rows = 0;
    features.forEach((feature, at) => {
      const visible = named ? named.has(feature.index) : differs(sums[at]) || !differing;
      feature.row.hidden = !visible;
      if (!visible) return;
      rows += 1;
      fill(feature, columns, sums[at]);
    });
    for (const section of matrix.tBodies) section.hidden = !section.querySelector("[data-feature]:not([hidden])");
    const none = document.querySelector(".none");
    matrix.parentElement.hidden = !rows || !shown.length;
    none.hidden = !matrix.parentElement.hidden;
    none.textContent = !shown.length ? "No host is like that." : named ? "No feature has such a name." : "The hosts shown agree on every feature.";

    const hosts = shown.reduce((sum, group) => sum + group.shown, 0);
    form.querySelector(".found p").textContent =
      `${number.format(hosts)} of ${count(all, "host")} in ${count(shown.length, "group")}, ${count(rows, "feature")} shown`;
    const filtered = hosts < all;
    const names = form.querySelector(".left");
    names.hidden = !filtered || !hosts;
    if (!names.hidden) {
      const some = namesShown(NAMES_MAX);
      names.textContent = some.join(", ") + (hosts > some.length ? ` and ${number.format(hosts - some.length)} more` : "");
    }
    form.querySelector(".copy").hidden = !hosts;
    form.querySelector(".copy").textContent = `Copy ${count(hosts, "name")}`;
    remember();
    document.documentElement.style.setProperty("--tools", `${getComputedStyle(form).position === "sticky" ? form.offsetHeight : 0}px`);
    const chip = form.querySelector(".lacking");
    chip.hidden = state.lacking === null;
    if (state.lacking !== null) chip.textContent = `only hosts that lack ${data.features[state.lacking][0]} ✕`;
  }

  /* The names of the hosts that the filters leave, by name, so many at most. */
  function namesShown(limit = Infinity) {
    return shown.flatMap((group) => group.found.flatMap(([, hits]) => hits)).sort().slice(0, limit);
  }

  /* What is asked stands in the address, so that it can be sent: after ?, by the fields' names; labels as label.NAME. */
  const fieldsOf = () => [...form.elements].filter((field) => (field.name || field.dataset.label) && field.type !== "checkbox")
    .map((field) => [field.name || `label.${field.dataset.label}`, field]);

  function remember() {
    const query = new URLSearchParams();
    for (const [name, field] of fieldsOf()) if (field.value) query.set(name, field.value);
    if (!form.elements.differing.checked) query.set("all", "1");
    if (state.lacking !== null) query.set("lacking", data.features[state.lacking][0]);
    const text = query.toString();
    if (text !== location.search.slice(1)) history.replaceState(null, "", `${location.pathname}${text && `?${text}`}${location.hash}`);
  }

  function recall() {
    const query = new URLSearchParams(location.search);
    for (const [name, field] of fieldsOf()) {
      if (!query.has(name)) continue;
      field.value = query.get(name);
      if (field.tagName === "SELECT" && field.selectedIndex < 0) field.value = "";
    }
    form.elements.differing.checked = !query.has("all");
    const lacking = data.features.findIndex(([name]) => name === query.get("lacking"));
    state.lacking = lacking < 0 ? null : lacking;
  }

  /* The features on which the hosts shown agree, under the table. */
  function agree() {
    const any = shown.length > 0;
    const kinds = [any && sums[0].without ? "all hosts with VMX have" : "all hosts have", "no host has", "are known of no host"];
    const found = [[], [], []];
    features.forEach((feature, at) => {
      if (any && !differs(sums[at])) found[sums[at]["+"] ? 0 : sums[at]["-"] ? 1 : 2].push(feature.names[0]);
    });
    const summary = make("summary");
    const parts = [];
    const texts = [];
    kinds.forEach((word, at) => {
      if (!found[at].length) return;
      const text = ` ${found[at].length === 1 ? "feature" : "features"} ${word}`;
      const part = make("span", text);
      part.prepend(make("b", found[at].length));
      parts.push(part);
      texts.push(make("h3", found[at].length + text));
      const list = make("p", undefined, "code");
      found[at].forEach((name) => list.append(make("span", name), " "));
      texts.push(list);
    });
    parts.forEach((part, at) => summary.append(at ? ", " : "", part));
    if (!parts.length) summary.append("No feature on which all hosts agree");
    document.getElementById("agreed").replaceChildren(summary, ...texts);
  }

  let waiting = false;
  function later() {
    state.page = 0;
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; render(); });
  }

  const models = new Set(groups.flatMap((group) => group.variants.map(({facts}) => facts[MODEL])));
  [...models].sort().forEach((model) => {
    const option = make("option", model || "model not known");
    option.value = `=${model}`;
    form.elements.model.append(option);
  });
  form.addEventListener("input", later);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => { state.lacking = null; later(); });
  form.querySelector(".lacking").addEventListener("click", () => { state.lacking = null; later(); form.elements.host.focus(); });
  matrix.addEventListener("click", (event) => {
    const button = event.target.closest(".lack button");
    if (!button) return;
    state.lacking = +button.closest("tr").dataset.feature;
    later();
    form.querySelector(".lacking").hidden = false;
    form.querySelector(".lacking").focus();
  });
  form.querySelector(".copy").addEventListener("click", async (event) => {
    const text = namesShown().join("\n");
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = make("textarea", text);
      form.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    event.target.textContent = "Copied";
  });
  /* On paper nothing is folded. */
  const folded = () => document.querySelectorAll("details:not([open])");
  let unfolded = [];
  addEventListener("beforeprint", () => {
    unfolded = [...folded()];
    unfolded.forEach((each) => { each.open = true; });
    groups.forEach((group) => { if (group.shown && !group.members.querySelector("table")) listHosts(group, Infinity); });
  });
  addEventListener("afterprint", () => unfolded.forEach((each) => { each.open = false; }));
  pages.addEventListener("click", (event) => {
    const step = +event.target.dataset.step;
    if (step) { state.page += step; render(); }
  });
  groups.forEach((group) => group.row.querySelector("details").addEventListener("toggle", (event) => {
    if (event.target.open) listHosts(group);
  }));
  document.querySelectorAll("[data-sort]").forEach((head) => {
    const button = make("button", head.textContent);
    button.type = "button";
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const key = head.dataset.sort;
      state.ascending = state.sort === key ? !state.ascending : key === "title";
      state.sort = key;
      document.querySelectorAll("[data-sort]").forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", state.ascending ? "ascending" : "descending");
      state.page = 0;
      render();
    });
  });
  form.hidden = false;
  recall();
  render();
})();
