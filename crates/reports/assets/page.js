"use strict";
// Sorts tables by a click on a heading, and shows the rows and claims that hold the searched words.
(() => {
  const valueOf = (row, index) => {
    const cell = row.cells[index];
    const text = cell.dataset.sort ?? cell.textContent.trim();
    const number = Number(text);
    return text !== "" && !Number.isNaN(number) ? number : text;
  };
  // Numbers come before texts, which stand for missing values, in either direction.
  const compare = (a, b, sign) => {
    if (typeof a === "number" && typeof b === "number") return sign * (a - b);
    if (typeof a === "number") return -1;
    if (typeof b === "number") return 1;
    return -sign * a.localeCompare(b);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const headings = [...table.tHead.rows[0].cells];
    for (const [index, heading] of headings.entries()) {
      heading.addEventListener("click", () => {
        const sign = heading.getAttribute("aria-sort") === "descending" ? 1 : -1;
        for (const other of headings) other.removeAttribute("aria-sort");
        heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => compare(valueOf(a, index), valueOf(b, index), sign));
        table.tBodies[0].append(...rows);
      });
    }
  }
  const search = document.querySelector("#search");
  const found = document.querySelector("#found");
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const part of document.querySelectorAll("main tbody tr, main article.claim")) {
      const text = part.textContent.toLowerCase();
      part.hidden = !words.every((word) => text.includes(word));
      count += part.hidden ? 0 : 1;
    }
    for (const section of document.querySelectorAll("main section.table")) {
      const rows = [...section.querySelectorAll("tbody tr")];
      section.hidden = rows.every((row) => row.hidden);
      const fold = section.querySelector("details");
      if (words.length > 0 && fold) fold.open = true;
    }
    found.textContent = words.length > 0 ? `${count} found` : "";
  };
  search?.addEventListener("input", apply);
  // A link to something folded opens it; `/` goes to the search.
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (const fold of target?.querySelectorAll(":scope > details") ?? []) fold.open = true;
  };
  addEventListener("hashchange", reveal);
  reveal();
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !/INPUT|SELECT|TEXTAREA/.test(document.activeElement.tagName)) {
      event.preventDefault();
      search?.focus();
    }
  });
})();
