// SPDX-License-Identifier: Apache-2.0
// The plots of a study's page, by uPlot: values under the cursor, lines on and off by their names, zoom by dragging.
// Data: the JSON of the page (plot_json and runs_json, report.h). Every plot stands before the SVG of the same, which the
// style sheet shows instead on paper; where this script does not run, or fails, the page is as it was without it.
(() => {
  "use strict";
  const page = JSON.parse(document.getElementById("data").textContent);
  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const element = (tag, attributes, ...content) => {
    const e = Object.assign(document.createElement(tag), attributes);
    e.append(...content);
    return e;
  };

  // As shown() of report.cpp.
  const shown = v => {
    const size = Math.abs(v);
    if (v === 0) return "0";
    if (size >= 1e7 || size < 1e-4) return Number(v.toPrecision(3)).toExponential();
    return size >= 1000 ? v.toFixed(0) : String(Number(v.toPrecision(4)));
  };

  // What is drawn: `xs` of all lines together, and for each line a value, or null, at each of them.
  const columns = p => {
    const xs = [...new Set(p.series.flatMap(s => s.x))].sort((a, b) => a - b);
    const at = new Map(xs.map((x, i) => [x, i]));
    const level = new Array(xs.length);
    const lines = p.series.map(s => {
      const line = {name: s.name || p.y.name};
      for (const key of ["mean", "low", "high", "n"]) line[key] = new Array(xs.length).fill(null);
      s.x.forEach((x, i) => {
        level[at.get(x)] = s.level[i];
        if (p.y.log && s.mean[i] <= 0) return;
        for (const key of ["mean", "low", "high", "n"]) line[key][at.get(x)] = s[key][i];
      });
      return line;
    });
    return {xs, level, lines};
  };

  // A little room at both ends.
  const widened = (low, high, log, share) => {
    if (log) {
      const factor = low === high ? 2 : (high / low) ** share;
      return [low / factor, high * factor];
    }
    const room = low === high ? Math.abs(low) / 2 || 1 : (high - low) * share;
    return [low - room, high + room];
  };

  // Of all lines that are on, with their bars. As plot_svg: a scale that begins near zero begins at zero.
  const y_range = (u, p, d) => {
    let low = Infinity, high = -Infinity;
    d.lines.forEach((line, i) => line.mean.forEach((mean, k) => {
      if (mean === null || !u.series[i + 1].show) return;
      low = Math.min(low, p.y.log && line.low[k] <= 0 ? mean : line.low[k]);
      high = Math.max(high, line.high[k]);
    }));
    if (low > high) return p.y.log ? [1, 10] : [0, 1];
    const [from, to] = widened(low, high, p.y.log, 0.04);
    return [!p.y.log && low >= 0 && low < high / 2 ? 0 : from, to];
  };

  // As Scale::ticks of plot.cpp: decades, in between 2 and 5 where decades are few.
  const log_ticks = (low, high) => {
    const steps = Math.log10(high / low) < 1.6 ? [1, 2, 5] : [1], all = [];
    for (let n = Math.floor(Math.log10(low)); n <= Math.log10(high); ++n) all.push(...steps.map(f => f * 10 ** n));
    return all.filter(t => t >= low && t <= high);
  };

  // The ticks of an axis with levels are its levels; of those that would overlap only the first is named.
  const tick_names = (u, ticks) => {
    let free = -Infinity;
    return ticks.map(([x, name]) => {
      const middle = u.valToPos(x, "x"), half = name.length * 3.7 + 4;
      if (middle - half < free) return "";
      free = middle + half;
      return name;
    });
  };

  const axes = p => {
    const common = {
      stroke: () => css("--fg"), font: "12px system-ui, sans-serif", labelFont: "600 12px system-ui, sans-serif",
      labelSize: 20, grid: {stroke: () => css("--line"), width: 1}, ticks: {stroke: () => css("--line"), width: 1, size: 5},
    };
    const numbers = (u, splits) => splits.map(v => v === null ? "" : shown(v));
    const numbered = {...common, values: numbers};
    const logarithmic = {...numbered, splits: (u, i, low, high) => log_ticks(low, high), filter: (u, splits) => splits};
    const x = {...(p.x.log ? logarithmic : numbered), label: p.x.name, size: 30};
    if (p.x.ticks) {
      const inside = u => p.x.ticks.filter(([v]) => v >= u.scales.x.min && v <= u.scales.x.max);
      x.splits = u => inside(u).map(([v]) => v);
      x.values = u => tick_names(u, inside(u));
      x.filter = (u, splits) => splits;
    }
    const y = {
      ...(p.y.log ? logarithmic : numbered), label: p.y.unit ? `${p.y.name} (${p.y.unit})` : p.y.name,
      size: (u, names) => 14 + 7 * Math.max(3, ...(names || []).map(n => n.length)),
    };
    return [x, y];
  };

  const draw_bars = (u, d) => {
    const c = u.ctx;
    c.save();
    c.beginPath();
    c.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    c.clip();
    c.globalAlpha = 0.6;
    c.lineWidth = devicePixelRatio * 1.5;
    d.lines.forEach((line, i) => {
      if (!u.series[i + 1].show) return;
      c.strokeStyle = page.colours[i % page.colours.length];
      line.mean.forEach((mean, k) => {
        if (mean === null || line.low[k] === line.high[k] || (u.scales.y.distr === 3 && line.low[k] <= 0)) return;
        const x = u.valToPos(d.xs[k], "x", true);
        c.beginPath();
        c.moveTo(x, u.valToPos(line.low[k], "y", true));
        c.lineTo(x, u.valToPos(line.high[k], "y", true));
        c.stroke();
      });
    });
    c.restore();
  };

  // Points without lines: the one that is nearest on the screen, whatever its x.
  const nearest_point = (u, d, of) => {
    let best = null, distance = Infinity;
    d.lines.forEach((line, i) => {
      if ((of !== 0 && of !== i + 1) || !u.series[i + 1].show) return;
      line.mean.forEach((mean, k) => {
        if (mean === null) return;
        const away = Math.hypot(u.valToPos(d.xs[k], "x") - u.cursor.left, u.valToPos(mean, "y") - u.cursor.top);
        if (away < distance) distance = away, best = k;
      });
    });
    return best;
  };

  const tip_lines = (u, p, d) => {
    const rows = [];
    d.lines.forEach((line, i) => {
      const k = u.cursor.idxs[i + 1];
      if (k === null || k === undefined || line.mean[k] === null || !u.series[i + 1].show) return;
      if (!p.lines && k !== u.cursor.idxs[0]) return;
      const range = line.low[k] === line.high[k] ? "" : ` (${shown(line.low[k])} to ${shown(line.high[k])}, ${line.n[k]} runs)`;
      const mark = element("i");
      mark.style.background = page.colours[i % page.colours.length];
      rows.push(element("div", {}, mark, p.by ? `${line.name}: ` : "", element("b", {}, shown(line.mean[k])),
                        element("span", {className: "dim"}, range)));
    });
    return rows;
  };

  const show_tip = (u, p, d, tip) => {
    const {left, top, idxs} = u.cursor;
    const rows = left < 0 || !idxs || idxs[0] === null ? [] : tip_lines(u, p, d);
    tip.hidden = rows.length === 0;
    if (tip.hidden) return;
    tip.replaceChildren(element("div", {}, `${p.x.name}: `, element("b", {}, d.level[idxs[0]])), ...rows);
    const width = u.over.clientWidth, height = u.over.clientHeight;
    const x = left > width / 2 ? left - tip.offsetWidth - 14 : left + 14;
    tip.style.left = `${Math.max(-u.over.offsetLeft, Math.min(x, width - tip.offsetWidth))}px`;
    tip.style.top = `${Math.max(0, Math.min(top + 10, height - tip.offsetHeight))}px`;
  };

  const size_in = box => ({width: box.clientWidth - 10, height: Math.max(260, Math.min(400, box.clientWidth * 0.6))});

  const plot = (figure, p) => {
    const d = columns(p), tip = element("div", {className: "tip", hidden: true});
    const live = element("div", {className: "live"});
    figure.prepend(live);
    const series = d.lines.map((line, i) => {
      const colour = page.colours[i % page.colours.length];
      return {
        label: line.name, stroke: colour, width: 1.8, spanGaps: true, paths: p.lines ? undefined : () => null,
        points: {show: true, size: p.lines ? 7 : 6, fill: colour, stroke: colour},
      };
    });
    const u = new uPlot({
      ...size_in(live),
      scales: {
        x: {time: false, distr: p.x.log ? 3 : 1, range: (u, low, high) => widened(low, high, p.x.log, 0.03)},
        y: {distr: p.y.log ? 3 : 1, range: u => y_range(u, p, d)},
      },
      axes: axes(p),
      series: [{label: p.x.name}, ...series],
      legend: {show: p.series.length > 1, live: false, markers: {fill: (u, i) => series[i - 1].stroke}},
      cursor: {
        y: !p.lines, drag: {x: true, y: false},
        dataIdx: (u, of, hovered) => p.lines ? hovered : nearest_point(u, d, of),
      },
      hooks: {
        ready: [u => u.over.append(tip)],
        draw: [u => draw_bars(u, d)],
        setCursor: [u => show_tip(u, p, d, tip)],
      },
    }, [d.xs, ...d.lines.map(line => line.mean)], live);
    if (p.by) u.root.querySelector(".u-legend")?.prepend(element("caption", {}, p.by));
    live.append(element("div", {className: "hint"}, p.series.length > 1 ? "A name: on and off. " : "",
                        "Drag: zoom; double click: all."));
    figure.classList.add("on");
    new ResizeObserver(() => {
      const size = size_in(live);
      if (live.clientWidth > 0 && (size.width !== u.width || size.height !== u.height)) u.setSize(size);
    }).observe(live);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => u.redraw(false, true));
  };

  for (const figure of document.querySelectorAll("figure[data-plot]")) {
    try {
      plot(figure, page.plots[Number(figure.dataset.plot)]);
    } catch (error) {
      figure.classList.remove("on");
      figure.querySelector(".live")?.remove();
      console.error(error);
    }
  }

  // The runs, as `poolsim study --csv` writes them.
  const quoted = v => {
    const text = v === null ? "" : String(v);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const csv = () => [page.runs.columns, ...page.runs.rows].map(row => row.map(quoted).join(",") + "\n").join("");
  const kept = page.runs.rows.length, all = page.runs_in_all;
  const save = element("button", {type: "button"},
                       kept < all ? `Save the first ${kept} of ${all} runs as CSV` : "Save the runs as CSV");
  save.addEventListener("click", () => {
    const url = URL.createObjectURL(new Blob([csv()], {type: "text/csv"}));
    element("a", {href: url, download: `${page.name}.csv`}).click();
    URL.revokeObjectURL(url);
  });
  document.getElementById("figures").after(save);
})();
