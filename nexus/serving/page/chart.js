// Small line charts in SVG. The one idea: a share between 0 and 1 over a row of yes and no, drawn as it ran.

import { percent, svg } from "./dom.js";

const WIDTH = 280;
const HEIGHT = 72;
const TOP = 6;

/**
 * The running share of `true` after each outcome.
 * `before` are the counts of outcomes that came earlier and are not in the list: {yes, all}.
 */
export function running(outcomes, before = { yes: 0, all: 0 }) {
  let { yes, all } = before;
  return outcomes.map((outcome) => {
    yes += outcome ? 1 : 0;
    all += 1;
    return yes / all;
  });
}

/** A chart of shares; `limit` draws a dashed line (the risk that is allowed), `label` says it all in words. */
export function chart(shares, { label, limit = null, kind = "" }) {
  const highest = Math.max(...shares, limit ?? 0, 0.1);
  const top = kind === "coverage" ? 1 : Math.min(1, 1.15 * highest);
  const x = (i) => (shares.length > 1 ? (i / (shares.length - 1)) * WIDTH : WIDTH);
  const y = (share) => TOP + (1 - share / top) * (HEIGHT - TOP);
  const points = shares.map((share, i) => `${x(i).toFixed(1)},${y(share).toFixed(1)}`);
  const last = shares.length - 1;
  if (points.length === 1) points.unshift(`0,${y(shares[0]).toFixed(1)}`);
  return svg(
    "svg",
    { class: `chart ${kind}`, viewBox: `0 0 ${WIDTH + 34} ${HEIGHT + 6}`, role: "img", "aria-label": label },
    line("axis", 0, y(0), WIDTH, y(0)),
    limit === null ? null : line("limit", 0, y(limit), WIDTH, y(limit)),
    limit === null ? null : text(WIDTH + 4, y(limit) + 4, percent(limit)),
    svg("polygon", { class: "area", points: `0,${y(0)} ${points.join(" ")} ${WIDTH},${y(0)}` }),
    svg("polyline", { class: "line", points: points.join(" ") }),
    svg("circle", { class: "last", cx: x(last), cy: y(shares[last]), r: 3.5 }),
  );
}

function line(kind, x1, y1, x2, y2) {
  return svg("line", { class: kind, x1, y1, x2, y2 });
}

function text(x, y, said) {
  return svg("text", { class: "tick", x, y }, said);
}
