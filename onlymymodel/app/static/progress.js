// the run's progress in words: models that are loaded, stages of a photo, and how it ended
import { ROLES, isWritten, make, size } from "./card.js";

const by = (id) => document.getElementById(id);
const STAGES = ["original", "change", "file", "result"];
const SHARES = { original: [0, 0.1], change: [0.1, 0.85], file: [0.85, 0.9], result: [0.9, 1] }; // of the time of a photo
const STATES = { waiting: "waiting", loading: "loading", ready: "loaded" };

export function sayProgress(run, photos) {
  by("progress").hidden = !run.busy;
  by("doing").textContent = run.stopping ? "Stopping" : doing(run);
  by("progress").querySelector("progress").value = share(run);
  by("loading").replaceChildren(...(run.phase === "loading" ? run.models : []).map(model));
  by("stages").hidden = run.phase !== "working";
  const current = STAGES.indexOf(run.stage);
  for (const [index, item] of [...by("stages").children].entries()) {
    item.className = index < current ? "done" : index === current ? "now" : "";
    if (index === current) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  }
  const done = photos.filter((photo) => photo.status === "protected").length;
  const written = photos.filter(isWritten).length;
  const outcome = by("outcome");
  outcome.hidden = run.busy || !["done", "stopped"].includes(run.phase) || !photos.length;
  outcome.textContent = `${run.phase === "stopped" ? "Stopped. " : ""}${done} of ${photos.length} photos protected`
    + (written > done ? `, ${written - done} misread already.` : ".");
  by("saving").hidden = by("limits").hidden = run.busy || !written;
}

function doing(run) {
  if (run.phase === "queued") return "Waiting for another tab's photos";
  if (run.phase === "loading") {
    const ready = run.models.filter((one) => one.state === "ready").length;
    return `Loading models, ${ready} of ${run.models.length}`;
  }
  if (run.phase !== "working") return "";
  const steps = run.steps ? `step ${run.step} of ${run.steps}` : `stage ${STAGES.indexOf(run.stage) + 1} of ${STAGES.length}`;
  return `Photo ${run.photo} of ${run.photos}, ${steps}`;
}

function share(run) {
  if (run.phase !== "working" || !run.photos) return 0;
  const [start, end] = SHARES[run.stage] ?? [0, 0];
  const part = start + (run.steps ? (end - start) * (run.step / run.steps) : 0);
  return (run.photo - 1 + part) / run.photos;
}

function model(one) {
  const state = one.size === null ? STATES[one.state] : size(one.size);
  return make("li", { className: one.state },
    make("span", { className: "uri" }, one.model), make("small", {}, `${ROLES[one.role]}, ${state}`));
}
