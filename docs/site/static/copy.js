// A button on each block of code that copies it; of a console what was typed: the lines behind a prompt, and here-documents.
"use strict";
addEventListener("DOMContentLoaded", () => {
  const typed = (block, text) => {
    if (!block.matches(".highlight-console")) return text;
    const lines = [];
    let end = null;
    for (const line of text.split("\n")) {
      const command = line.startsWith("$ ");
      if (!command && end === null) continue;
      lines.push(command ? line.slice(2) : line);
      if (line === end) end = null;
      else if (command) end = /<<'?(\w+)'?/.exec(line)?.[1] ?? (line.endsWith("\\") ? "" : null);
      else if (end === "" && !line.endsWith("\\")) end = null;
    }
    return lines.join("\n");
  };
  for (const block of document.querySelectorAll("div[class*=highlight-]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(typed(block, block.querySelector("pre").textContent).trimEnd() + "\n");
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    block.append(button);
  }
});
