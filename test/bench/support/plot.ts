// A line plot as an SVG: both axes logarithmic or not, a few series, every point marked. For the pages in docs/.

export interface Series {
  readonly name: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

export interface PlotOptions {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly isYLogarithmic?: boolean;
  /** Marks of the x axis as people write them. */
  readonly xText: (value: number) => string;
}

const [width, height] = [760, 400];
const margin = { left: 70, right: 150, top: 40, bottom: 50 };
const colours = ['#d1495b', '#30638e', '#6a994e', '#8d6a9f'];

/** The x axis is logarithmic: what is plotted here grows by factors. */
export function drawPlot(series: readonly Series[], options: PlotOptions): string {
  const xs = [...new Set(series.flatMap(({ points }) => points.map(({ x }) => x)))].toSorted((a, b) => a - b);
  const ys = series.flatMap(({ points }) => points.map(({ y }) => y));
  const isLog = options.isYLogarithmic === true;
  const yTop = isLog ? 10 ** Math.ceil(Math.log10(Math.max(...ys))) : niceTop(Math.max(...ys));
  const yBottom = isLog ? 10 ** Math.floor(Math.log10(Math.min(...ys))) : 0;
  const xAt = scale(Math.log(xs[0] ?? 1), Math.log(xs.at(-1) ?? 2), margin.left, width - margin.right);
  const yAt = scale(level(yBottom, isLog), level(yTop, isLog), height - margin.bottom, margin.top);
  const yMarks = isLog ? decades(yBottom, yTop) : Array.from({ length: 5 }, (_, index) => (yTop / 4) * index);
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="${margin.left}" y="22" font-size="14">${options.title}</text>`,
    `<text x="${(margin.left + width - margin.right) / 2}" y="${height - 10}" text-anchor="middle">${options.xLabel}</text>`,
    `<text transform="translate(16 ${height / 2}) rotate(-90)" text-anchor="middle">${options.yLabel}</text>`,
  ];
  for (const value of yMarks) {
    const y = yAt(level(value, isLog)).toFixed(1);
    parts.push(`<path d="M${margin.left} ${y}H${width - margin.right}" stroke="#dddddd"/>`);
    parts.push(
      `<text x="${margin.left - 6}" y="${Number(y) + 4}" text-anchor="end">${Number(value.toPrecision(3))}</text>`,
    );
  }
  for (const value of xs) {
    const x = xAt(Math.log(value)).toFixed(1);
    parts.push(`<text x="${x}" y="${height - margin.bottom + 18}" text-anchor="middle">${options.xText(value)}</text>`);
  }
  const labels: { name: string; colour: string; x: number; y: number }[] = [];
  for (const [index, { name, points }] of series.entries()) {
    const colour = colours[index % colours.length] ?? '#000000';
    const at = points.map(({ x, y }) => [xAt(Math.log(x)).toFixed(1), yAt(level(y, isLog)).toFixed(1)] as const);
    parts.push(
      `<path d="M${at.map(([x, y]) => `${x} ${y}`).join('L')}" fill="none" stroke="${colour}" stroke-width="2"/>`,
    );
    for (const [x, y] of at) parts.push(`<circle cx="${x}" cy="${y}" r="3" fill="${colour}"/>`);
    const [x = '0', y = '0'] = at.at(-1) ?? [];
    labels.push({ name, colour, x: Number(x) + 8, y: Number(y) + 4 });
  }
  // Series that end close to each other keep their names apart.
  let free = 0;
  for (const { name, colour, x, y } of labels.toSorted((a, b) => a.y - b.y)) {
    const at = Math.max(y, free);
    free = at + 14;
    parts.push(`<text x="${x}" y="${at.toFixed(1)}" fill="${colour}">${name}</text>`);
  }
  return [...parts, '</svg>', ''].join('\n');
}

function scale(from: number, to: number, start: number, end: number): (value: number) => number {
  return (value) => start + ((value - from) / (to - from || 1)) * (end - start);
}

function level(value: number, isLog: boolean): number {
  return isLog ? Math.log10(value) : value;
}

function decades(from: number, to: number): number[] {
  const marks: number[] = [];
  for (let value = from; value <= to * 1.0001; value *= 10) marks.push(value);
  return marks;
}

/** The next number that divides by four without digits behind it that nobody reads. */
function niceTop(value: number): number {
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 8, 10].map((factor) => factor * size).find((top) => top >= value) ?? value;
}
