// the eye finds between two pictures in one place what it cannot find side by side
for (const pair of document.querySelectorAll(".pair")) {
  const original = pair.querySelector(".original img");
  for (const figure of pair.querySelectorAll(".protected")) {
    const after = figure.querySelector("img");
    const caption = figure.querySelector("figcaption");
    const stage = document.createElement("div");
    const range = document.createElement("input");
    const place = () => {
      // set by script, not by an attribute: the page's policy admits no inline styles
      after.style.clipPath = `inset(0 0 0 ${range.value}%)`;
      range.setAttribute("aria-valuetext", `${range.value}% original, ${100 - range.value}% protected`);
    };
    stage.className = "stage";
    range.type = "range";
    range.min = 0;
    range.max = 100;
    range.value = 50;
    range.autocomplete = "off";
    range.setAttribute("aria-label", `Compare original and protected: ${after.alt}`);
    range.addEventListener("input", place);
    after.before(stage);
    stage.append(original.cloneNode(), after, range);
    const left = document.createElement("span");
    left.className = "middle";
    left.textContent = "Original";
    caption.prepend(left);
    place();
  }
  pair.classList.add("sliding");
}
