(() => {
  "use strict";
  const search = document.getElementById("search");
  const said = document.getElementById("found");
  const heading = document.getElementById("h-features");
  const tools = document.getElementById("tools");
  const none = document.getElementById("none");
  const states = [...document.querySelectorAll("input[name=state]")];
  const fold = document.querySelector("#features .fold");
  const groups = [...document.querySelectorAll("#features .group")].map((section) => {
    const msr = section.dataset.msr.toLowerCase();
    const rows = [...section.querySelectorAll("tbody tr")].map((row) => ({
      row,
      text: `${row.textContent} ${row.dataset.at} ${msr}`.toLowerCase(),
      names: [row.id, ...row.dataset.at.split(" "), ...[...row.querySelectorAll(".names code")].map((code) => code.textContent.split(" ")[0])].map(
        (name) => name.toLowerCase(),
      ),
    }));
    return { section, names: msr.split(" "), rows };
  });
  const all = groups.flatMap(({ rows }) => rows);

  // The words of a text that are names of features, or of MSRs if there is no feature in it: an error as it was pasted.
  const named = (text) => {
    const words = new Set(text.split(/[^\w[\]-]+/).filter(Boolean));
    const found = all.filter(({ names }) => names.some((name) => name && words.has(name)));
    return found.length ? found : groups.filter(({ names }) => names.some((name) => name && words.has(name))).flatMap(({ rows }) => rows);
  };

  const matching = (text) => {
    const words = text.split(/\s+/).filter(Boolean);
    const found = all.filter((each) => words.every((word) => each.text.includes(word)));
    return found.length || words.length < 2 ? [found, ""] : [named(text), ", as named in this text"];
  };

  const update = () => {
    const state = states.find((each) => each.checked).value;
    const [matched, how] = matching(search.value.toLowerCase());
    const found = new Set(matched.filter(({ row }) => !state || row.dataset.key === state));
    for (const { section, rows } of groups) {
      for (const each of rows) each.row.hidden = !found.has(each);
      section.hidden = !rows.some((each) => found.has(each));
    }
    none.hidden = found.size > 0;
    if (fold && found.size < all.length) fold.open = true;
    said.classList.toggle("all", found.size === all.length);
    said.textContent = found.size === all.length ? `${all.length} features` : `${found.size} of ${all.length} features${found.size ? how : ""}`;
  };

  // What is chosen stands in the address, so that it can be sent.
  const remember = () => {
    const query = new URLSearchParams();
    if (search.value) query.set("q", search.value);
    const state = states.find((each) => each.checked).value;
    if (state) query.set("state", state);
    history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`);
  };

  // What is found begins below the tools, wherever on the page the reader was.
  const narrow = () => {
    update();
    remember();
    heading.scrollIntoView();
  };

  search.addEventListener("input", narrow);
  for (const each of states) each.addEventListener("change", narrow);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/" && document.activeElement !== search) {
      event.preventDefault();
      search.focus({ preventScroll: true });
      search.select();
    } else if (event.key === "Escape" && document.activeElement === search) {
      search.value = "";
      narrow();
    }
  });
  const follow = () => {
    const target = document.getElementById(location.hash.slice(1));
    const folded = target && target.closest("details:not([open])");
    if (folded) folded.open = true;
    if (target && target.closest("[hidden]")) {
      search.value = "";
      states[0].checked = true;
      update();
      remember();
    }
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", follow);

  const ago = (seconds) => {
    const [size, unit] = [[86400, "day"], [3600, "hour"], [60, "minute"]].find(([each]) => seconds >= each) || [1, "second"];
    const count = Math.max(0, Math.floor(seconds / size));
    return `${count} ${unit}${count === 1 ? "" : "s"} ago`;
  };
  for (const each of document.querySelectorAll("time")) {
    each.title = each.textContent;
    each.after(`, ${ago((Date.now() - Date.parse(each.dateTime)) / 1000)}`);
  }

  const asked = new URLSearchParams(location.search);
  search.value = asked.get("q") || "";
  (states.find((each) => each.value === asked.get("state")) || states[0]).checked = true;
  tools.hidden = false;
  update();
  if (asked.has("q") || asked.has("state")) heading.scrollIntoView();
  if (location.hash) follow();
})();
