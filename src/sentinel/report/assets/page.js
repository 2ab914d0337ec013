"use strict";
(() => {
  const report = JSON.parse(document.getElementById("report").textContent);
  const t = report.timeline;
  const seconds = t.planned.map((_, second) => second);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const sync = uPlot.sync("run");
  let charts = [];

  const short = (value) => {
    if (value == null) return "–";
    const size = Math.abs(value);
    if (size >= 1e6) return +(value / 1e6).toPrecision(3) + "M";
    if (size >= 1e4) return +(value / 1e3).toPrecision(3) + "k";
    return size >= 100 ? value.toFixed(0) : String(+value.toPrecision(3));
  };
  const span = (ms) => (ms == null ? "–" : ms >= 1000 ? short(ms / 1000) + " s" : ms < 1 ? short(ms * 1000) + " µs" : short(ms) + " ms");
  const clock = (s) => (report.run.seconds < 180 ? short(s) + " s" : Math.floor(s / 60) + ":" + String(Math.round(s % 60)).padStart(2, "0"));

  // Phases as bands behind everything, their names in front of the grid.
  const phases = () => {
    const each = (paint) => (u) => {
      const { ctx } = u;
      const box = u.bbox;
      const ratio = devicePixelRatio;
      ctx.save();
      ctx.font = 11 * ratio + "px system-ui, sans-serif";
      ctx.textBaseline = "top";
      ctx.textAlign = "left";
      report.phases.forEach((phase, index) => {
        const from = Math.max(u.valToPos(phase.start_s, "x", true), box.left);
        const to = Math.min(u.valToPos(phase.end_s, "x", true), box.left + box.width);
        if (to > from) paint(ctx, box, phase.name, index, from, to, ratio);
      });
      ctx.restore();
    };
    const band = (ctx, box, name, index, from, to) => {
      ctx.fillStyle = css("--band");
      if (index % 2 === 0) ctx.fillRect(from, box.top, to - from, box.height);
    };
    const label = (ctx, box, name, index, from, to, ratio) => {
      const width = ctx.measureText(name).width;
      if (width + 10 * ratio > to - from) return;
      ctx.fillStyle = css("--card");
      ctx.fillRect(from + 3 * ratio, box.top + 3 * ratio, width + 4 * ratio, 14 * ratio);
      ctx.fillStyle = css("--soft");
      ctx.fillText(name, from + 5 * ratio, box.top + 5 * ratio);
    };
    return { hooks: { drawClear: each(band), draw: each(label) } };
  };

  // A legend of our own: values under the cursor, or the series' names alone.
  const legend = (host, series, show) => {
    const line = document.createElement("div");
    line.className = "legend";
    host.before(line);
    const at = document.createElement("span");
    at.className = "at";
    const cells = series.map((one) => {
      const cell = document.createElement("span");
      const mark = document.createElement("i");
      mark.style.borderTopColor = css(one.color);
      if (one.dash) mark.style.borderTopStyle = "dashed";
      const value = document.createElement("b");
      cell.append(mark, one.label + " ", value);
      if (!one.more || one.more.show !== false) line.append(cell);
      return value;
    });
    line.append(at);
    return {
      line,
      set: (index, data) => {
        at.textContent = index == null ? "" : show(data[0][index]);
        cells.forEach((cell, n) => { cell.textContent = index == null ? "" : series[n].format(data[n + 1][index]); });
      },
    };
  };

  const axis = (extra) => ({
    stroke: css("--soft"),
    grid: { stroke: css("--grid"), width: 1 },
    ticks: { stroke: css("--line"), width: 1, size: 4 },
    font: "12px system-ui, sans-serif",
    ...extra,
  });

  const draw = (id, { series, data, scales, axes, height, plugins, x, cursor, show }) => {
    const host = document.getElementById(id);
    if (!host) return;
    const words = series.length ? legend(host, series, show || clock) : null;
    const options = {
      width: host.clientWidth,
      height,
      padding: [10, 14, 0, 0],
      legend: { show: false },
      cursor: { points: { size: 6 }, drag: { x: true, y: false }, ...cursor },
      scales: { x: { time: false }, ...scales },
      series: [{}, ...series.map((one) => ({
        label: one.label, scale: one.scale || "y", stroke: css(one.color), width: one.width || 1.6, dash: one.dash,
        fill: one.fill, points: { show: false }, spanGaps: false, ...one.more,
      }))],
      axes: [axis({ values: (_, ticks) => ticks.map(x || clock), space: 56, size: 30 }), ...axes],
      plugins: plugins || [phases()],
      hooks: { setCursor: [(u) => words && words.set(u.cursor.idx, u.data)] },
    };
    const chart = new uPlot(options, data, host);
    charts.push({ chart, host, height, words });
    return chart;
  };

  // Powers of ten are labelled; 1, 2 and 5 of each where a range holds fewer than two of them; else every tick.
  const logTicks = (format) => axis({
    scale: "y", size: 58, space: 22, filter: (_, ticks) => ticks,
    splits: (_, axis, min, max) => {
      const ticks = [];
      for (let power = 10 ** Math.floor(Math.log10(min)); power <= max; power *= 10) {
        for (let digit = 1; digit < 10; digit++) if (digit * power >= min && digit * power <= max) ticks.push(digit * power);
      }
      return ticks;
    },
    values: (u, ticks) => {
      const { min, max } = u.scales.y;
      const lead = (tick) => Math.round(tick / 10 ** Math.floor(Math.log10(tick) + 1e-9));
      const shown = (keep) => ticks.filter((tick) => tick != null && tick >= min && tick <= max && keep(tick));
      const kept = [(tick) => lead(tick) === 1, (tick) => [1, 2, 5].includes(lead(tick)), () => true]
        .find((keep) => shown(keep).length > 1) || (() => true);
      return ticks.map((tick) => (tick != null && kept(tick) ? format(tick) : ""));
    },
  });

  const response = () => {
    const data = [seconds, t.p50_ms, t.p95_ms, t.p99_ms, t.max_ms];
    if (!data.slice(1).some((row) => row.some((value) => value != null))) return;
    draw("response", {
      data, height: 280, cursor: { sync: { key: sync.key } },
      scales: { y: { distr: 3, log: 10 } },
      axes: [logTicks(span)],
      series: [
        { label: "p50", color: "--c1", format: span },
        { label: "p95", color: "--c2", format: span, width: 2 },
        { label: "p99", color: "--c3", format: span, dash: [5, 4] },
        { label: "slowest", color: "--soft", format: span, width: 1, dash: [1, 3] },
      ].map((one, n) => ({ ...one, more: { show: data[n + 1].some((value) => value != null) } })),
    });
  };

  const load = () => {
    const wanted = t.planned_users.some((users) => users != null);
    const failed = t.error.map((count, second) => count + t.shed[second]);
    draw("load", {
      data: [seconds, t.planned, t.done, t.denied, failed, t.planned_users, t.users], height: 230, cursor: { sync: { key: sync.key } },
      scales: { y: { range: (_, low, high) => [0, high * 1.08 || 1] }, users: { range: (_, low, high) => [0, Math.max(high, 1) * 1.08] } },
      axes: [
        axis({ scale: "y", size: 50, values: (_, ticks) => ticks.map(short) }),
        axis({ scale: "users", side: 1, size: 46, grid: { show: false }, values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? short(tick) : "")) }),
      ],
      series: [
        { label: "planned/s", color: "--soft", dash: [3, 3], format: short },
        { label: "answered/s", color: "--c4", width: 2, format: short },
        { label: "refused/s", color: "--c2", format: short },
        { label: "failed/s", color: "--bad", format: short },
        { label: "users", color: "--c3", scale: "users", dash: [5, 4], format: short, more: { show: wanted } },
        { label: "sessions under way", color: "--c5", scale: "users", format: short },
      ],
    });
  };

  const mix = (share) => {
    const [low, mid, high] = ["--heat-low", "--heat-mid", "--heat-high"].map((name) => css(name).split(",").map(Number));
    const [from, to, part] = share < 0.5 ? [low, mid, share * 2] : [mid, high, share * 2 - 1];
    return "rgb(" + from.map((channel, n) => Math.round(channel + (to[n] - channel) * part)).join(",") + ")";
  };

  const heat = () => {
    const map = report.heat_map;
    if (!map) return;
    const most = Math.log1p(Math.max(...map.columns.map((column) => Math.max(...column))));
    const edges = map.edges_ms;
    const cells = {
      hooks: {
        draw: (u) => {
          const { ctx } = u;
          const box = u.bbox;
          ctx.save();
          ctx.beginPath();
          ctx.rect(box.left, box.top, box.width, box.height);
          ctx.clip();
          map.columns.forEach((column, n) => {
            const left = Math.round(u.valToPos(n * map.column_s, "x", true));
            const right = Math.round(u.valToPos((n + 1) * map.column_s, "x", true));
            column.forEach((count, row) => {
              if (!count) return;
              const top = Math.round(u.valToPos(edges[row + 1], "y", true));
              const bottom = Math.round(u.valToPos(edges[row], "y", true));
              ctx.fillStyle = mix(Math.log1p(count) / most);
              ctx.fillRect(left, top, right - left, bottom - top);
            });
          });
          ctx.restore();
        },
      },
    };
    draw("heat", {
      data: [seconds, seconds.map(() => null)], height: 250, plugins: [cells], series: [],
      cursor: { sync: { key: sync.key }, y: true },
      scales: { y: { distr: 3, log: 10, range: () => [edges[0], edges[edges.length - 1]] } },
      axes: [logTicks(span)],
    });
  };

  const steps = () => {
    const rows = report.steps;
    if (rows.length < 3) return;
    const knee = report.knee;
    const marks = {
      hooks: {
        draw: (u) => {
          const { ctx } = u;
          const box = u.bbox;
          const ratio = devicePixelRatio;
          ctx.save();
          ctx.strokeStyle = css("--c2");
          ctx.lineWidth = 1.5 * ratio;
          ctx.setLineDash([]);
          rows.forEach((row) => {
            const x = u.valToPos(row.offered, "x", true);
            ctx.beginPath();
            ctx.moveTo(x, u.valToPos(row.low_ms, "y", true));
            ctx.lineTo(x, u.valToPos(row.high_ms, "y", true));
            ctx.stroke();
          });
          if (knee) {
            const x = u.valToPos(knee.offered, "x", true);
            ctx.strokeStyle = ctx.fillStyle = css("--bad");
            ctx.setLineDash([4 * ratio, 4 * ratio]);
            ctx.beginPath();
            ctx.moveTo(x, box.top);
            ctx.lineTo(x, box.top + box.height);
            ctx.stroke();
            ctx.font = "600 " + 12 * ratio + "px system-ui, sans-serif";
            ctx.textAlign = x > box.left + box.width * 0.7 ? "right" : "left";
            ctx.fillText("knee", x + (ctx.textAlign === "left" ? 6 : -6) * ratio, box.top + box.height - 8 * ratio);
          }
          ctx.restore();
        },
      },
    };
    draw("steps", {
      data: [rows.map((row) => row.offered), rows.map((row) => row.p95_ms), rows.map((row) => (row.offered ? row.achieved / row.offered : null))],
      height: 250, plugins: [marks], x: short, show: (rate) => "at " + short(rate) + "/s",
      scales: { y: { distr: 3, log: 10 }, share: { range: () => [0, 1.1] } },
      axes: [
        logTicks(span),
        axis({ scale: "share", side: 1, size: 46, grid: { show: false }, values: (_, ticks) => ticks.map((tick) => Math.round(tick * 100) + "%") }),
      ],
      series: [
        { label: "p95", color: "--c2", width: 2, format: span, more: { points: { show: true, size: 6 } } },
        { label: "completed of offered", color: "--c4", scale: "share", dash: [5, 4], format: (share) => (share == null ? "–" : (share * 100).toFixed(1) + " %") },
      ],
    });
  };

  const machine = () => {
    const cores = Number(report.run.host.cores) || 1;
    draw("machine", {
      data: [seconds, t.generator_cpu, t.others_cpu.map((share) => share * cores), t.lag_max_ms], height: 190, cursor: { sync: { key: sync.key } },
      scales: { y: { range: (_, low, high) => [0, Math.max(1.1, high * 1.1)] }, lag: { range: (_, low, high) => [0, Math.max(1, high * 1.2)] } },
      axes: [
        axis({ scale: "y", size: 50, values: (_, ticks) => ticks.map(short) }),
        axis({ scale: "lag", side: 1, size: 62, grid: { show: false }, values: (_, ticks) => ticks.map(span) }),
      ],
      series: [
        { label: "generator, cores", color: "--c1", format: short },
        { label: "everything else, cores", color: "--c4", format: short },
        { label: "latest send", color: "--c3", scale: "lag", dash: [5, 4], format: span },
      ],
    });
  };

  const all = () => {
    charts.forEach(({ chart, words }) => { chart.destroy(); if (words) words.line.remove(); });
    charts = [];
    if (seconds.length) [response, load, heat, machine].forEach((chart) => chart());
    steps();
    document.documentElement.dataset.charts = charts.length;
  };
  all();
  dark.addEventListener("change", all);
  new ResizeObserver(() => charts.forEach(({ chart, host, height }) => {
    if (host.clientWidth && host.clientWidth !== chart.width) chart.setSize({ width: host.clientWidth, height });
  })).observe(document.body);
})();
