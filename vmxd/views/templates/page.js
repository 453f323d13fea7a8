(() => {
  "use strict";
  const search = document.getElementById("search");
  const said = document.getElementById("found");
  const heading = document.getElementById("h-features");
  const tools = document.getElementById("tools");
  const none = document.getElementById("none");
  const states = document.querySelectorAll("input[name=state]");
  const groups = [...document.querySelectorAll("#features .group")].map((section) => ({
    section,
    rows: [...section.querySelectorAll("tbody tr")].map((row) => ({
      row,
      text: `${row.textContent} ${row.dataset.at} ${section.dataset.msr}`.toLowerCase(),
    })),
  }));
  const total = groups.reduce((sum, { rows }) => sum + rows.length, 0);

  const update = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const state = [...states].find((each) => each.checked).value;
    let found = 0;
    for (const { section, rows } of groups) {
      let here = 0;
      for (const { row, text } of rows) {
        const fits = (!state || row.dataset.key === state) && words.every((word) => text.includes(word));
        row.hidden = !fits;
        here += fits;
      }
      section.hidden = !here;
      found += here;
    }
    none.hidden = found > 0;
    said.textContent = found === total ? `${total} features` : `${found} of ${total} features`;
  };

  // What is found begins below the tools, wherever on the page the reader was.
  const narrow = () => {
    update();
    heading.scrollIntoView();
  };

  search.addEventListener("input", narrow);
  for (const each of states) each.addEventListener("change", narrow);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/" && document.activeElement !== search) {
      event.preventDefault();
      if (Math.abs(tools.getBoundingClientRect().top) > 1) heading.scrollIntoView();
      search.focus({ preventScroll: true });
      search.select();
    } else if (event.key === "Escape" && document.activeElement === search) {
      search.value = "";
      narrow();
    }
  });
  addEventListener("hashchange", () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target && target.closest("[hidden]")) {
      search.value = "";
      states[0].checked = true;
      update();
      target.scrollIntoView();
    }
  });
  tools.hidden = false;
  update();
})();
