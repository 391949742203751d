// one photo on the page: what became of it, and before and after in one place

const ROLES = { authorized: "authorized", surrogate: "stand-in", "held-out": "judge" };
const WORDS = {
  ready: "ready", waiting: "waiting", working: "at work", protected: "protected", unchanged: "not protected",
  skipped: "skipped", failed: "failed",
};

export class Card {
  constructor(session, photo, onRemove) {
    this.base = `${session}/photos/${photo.number}`;
    this.name = photo.name;
    this.version = -1;
    this.element = document.getElementById("card").content.firstElementChild.cloneNode(true);
    const find = (selector) => this.element.querySelector(selector);
    this.find = find;
    const title = find("h3");
    title.id = `photo-${photo.number}`;
    this.element.setAttribute("aria-labelledby", title.id);
    find("h3 bdi").textContent = photo.name;
    find(".thumb").src = `${this.base}/thumb.png`;
    find(".meta").textContent = `${photo.width} × ${photo.height}, ${size(photo.size)}`;
    find(".remove").setAttribute("aria-label", `Remove ${photo.name}`);
    find(".remove").addEventListener("click", onRemove);
    this.prepareLook(photo);
  }

  prepareLook(photo) {
    const range = this.find(".stage input");
    const after = this.find(".after");
    const place = () => {
      // set by script, not by an attribute: the page's policy admits no inline styles
      after.style.clipPath = `inset(0 0 0 ${range.value}%)`;
      range.setAttribute("aria-valuetext", `${range.value}% original, ${100 - range.value}% protected`);
    };
    range.setAttribute("aria-label", `Compare original and protected: ${photo.name}`);
    range.addEventListener("input", place);
    place();
    this.find(".window").setAttribute("aria-label", `${photo.name}, scrolls where it is larger than its frame`);
    for (const group of this.element.querySelectorAll(".tools .chips")) {
      const what = group.classList.contains("zoom") ? "zoom" : "view";
      for (const radio of group.querySelectorAll("input")) {
        radio.name = `${what}-${photo.number}`;
        radio.addEventListener("change", () => (what === "zoom" ? this.zoom(+radio.value, photo) : this.show(radio.value)));
      }
    }
  }

  show(view) {
    const difference = view === "difference";
    const picture = this.find(".difference");
    if (difference && !picture.src) picture.src = this.pictures.difference;
    picture.hidden = !difference;
    this.find(".stage input").hidden = difference;
    this.find(".ends").hidden = difference;
  }

  zoom(factor, photo) {
    const frame = this.find(".window");
    const stage = this.find(".stage");
    const middle = [(frame.scrollLeft + frame.clientWidth / 2 - stage.offsetLeft) / stage.clientWidth,
      (frame.scrollTop + frame.clientHeight / 2) / stage.clientHeight];
    frame.classList.toggle("zoomed", factor > 0);
    // one pixel of the photo is `factor` pixels of the screen, however dense that is
    stage.style.width = factor ? `${(photo.width * factor) / devicePixelRatio}px` : "";
    frame.scrollLeft = middle[0] * stage.clientWidth + stage.offsetLeft - frame.clientWidth / 2;
    frame.scrollTop = middle[1] * stage.clientHeight - frame.clientHeight / 2;
  }

  // returns whether there is a new file to save
  update(photo, busy) {
    this.find(".remove").disabled = busy;
    const seen = `${photo.version} ${photo.status}`;
    if (seen === this.seen) return false;
    this.seen = seen;
    const pill = this.find(".pill");
    pill.textContent = WORDS[photo.status];
    pill.className = `pill ${photo.status}`;
    const done = photo.status === "protected";
    this.find(".reason").textContent = done ? summary(photo) : sentence(photo.reason);
    this.find(".result").hidden = !done;
    if (done) this.fill(photo);
    const notes = this.find(".notes");
    notes.replaceChildren(...photo.notes.map((note) => make("li", {}, sentence(note))));
    notes.hidden = !photo.notes.length;
    return done;
  }

  fill(photo) {
    const at = (view) => `${this.base}/${view}.png?${photo.version}`;
    this.pictures = { difference: at("difference") };
    for (const [view, told] of [["before", "Original photo of"], ["after", "Protected photo of"]]) {
      const picture = this.find(`.${view}`);
      [picture.width, picture.height] = [photo.width, photo.height];
      picture.alt = `${told} ${photo.name}`;
      picture.src = at(view);
    }
    const difference = this.find(".difference");
    difference.removeAttribute("src");
    difference.alt = `Difference, amplified, of ${photo.name}`;
    this.find(".view input").checked = true;
    this.show("compare");
    this.find(".answers tbody").replaceChildren(...photo.readings.map(row));
    const { linf, psnr, ssim, seconds } = photo.figures;
    this.find(".measures").replaceChildren(
      ...measure("Largest change", `${linf}/255`),
      ...measure("PSNR", psnr === null ? "–" : `${psnr.toFixed(1)} dB`),
      ...measure("SSIM", ssim.toFixed(4)),
      ...measure("Time", `${seconds.toFixed(1)} s`),
    );
    const save = this.find(".save");
    save.href = `${this.base}/file`;
    save.setAttribute("aria-label", `Save ${photo.name}, protected`);
  }
}

function summary(photo) {
  const share = (role, name) => {
    const readers = photo.readings.filter((reading) => reading.role === role && reading.good !== null);
    return readers.length ? [`${readers.filter((reading) => reading.good).length} of ${readers.length} ${name}`] : [];
  };
  const others = [...share("surrogate", "stand-ins"), ...share("held-out", "judges")].join(" and ");
  return `The authorized model still reads ${photo.label}.` + (others && ` Misled: ${others}.`);
}

function row(reading) {
  const tone = reading.good === null ? "quiet" : reading.good ? "right" : "wrong";
  const mark = reading.good === null ? "" : reading.good ? "✓ " : "✗ ";
  return make("tr", {},
    make("th", { scope: "row" }, make("span", { className: "uri" }, reading.model), make("small", {}, ROLES[reading.role])),
    make("td", {}, make("bdi", {}, reading.before)),
    make("td", {}, make("bdi", {}, reading.after), make("small", { className: tone }, mark + reading.verdict)),
  );
}

function measure(name, value) {
  return [make("div", {}, make("dt", {}, name), make("dd", {}, value))];
}

export function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export function sentence(text) {
  return text && text[0].toUpperCase() + text.slice(1);
}

function size(bytes) {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
