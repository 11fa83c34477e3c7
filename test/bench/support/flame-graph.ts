// A CPU profile of V8 (--cpu-prof) as a flame graph: one box for each function under its callers, as wide as its share of the time. An SVG
// without scripts; the whole name is in each box's tooltip.

interface ProfileNode {
  readonly id: number;
  readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  readonly children?: readonly number[];
}

export interface CpuProfile {
  readonly nodes: readonly ProfileNode[];
  readonly samples: readonly number[];
  /** Microseconds before each sample. */
  readonly timeDeltas: readonly number[];
}

interface Frame {
  readonly name: string;
  readonly kind: 'kexer' | 'node' | 'native';
  totalUs: number;
  readonly children: Map<string, Frame>;
}

const width = 1200;
const rowHeight = 17;
/** Narrower boxes cannot be seen. */
const minBoxWidth = 0.6;
const letterWidth = 6.6;
const colours = { kexer: '#f4a259', node: '#8cb369', native: '#c9c9c9' } as const;

function frameOf({ callFrame }: ProfileNode): Frame {
  const { functionName, url, lineNumber } = callFrame;
  const file = url.replace(/^.*\/(?:dist|src)\//, '').replace(/^.*node_modules\//, '');
  const kind = url.startsWith('node:') ? 'node' : url === '' ? 'native' : 'kexer';
  const name = functionName === '' ? '(anonymous)' : functionName;
  return { name: url === '' ? name : `${name} ${file}:${lineNumber + 1}`, kind, totalUs: 0, children: new Map() };
}

function merge(profile: CpuProfile): Frame {
  const byId = new Map(profile.nodes.map((node) => [node.id, node]));
  const parents = new Map(profile.nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id])));
  const root: Frame = { name: 'all', kind: 'native', totalUs: 0, children: new Map() };
  for (const [index, sample] of profile.samples.entries()) {
    const us = profile.timeDeltas[index] ?? 0;
    const stack: ProfileNode[] = [];
    for (let id: number | undefined = sample; id !== undefined; id = parents.get(id)) {
      const node = byId.get(id);
      if (node !== undefined) stack.unshift(node);
    }
    // The start is no part of what is shown: nothing else loads modules.
    const isLeftOut = stack.some(
      ({ callFrame: { functionName, url } }) => functionName === '(idle)' || url.startsWith('node:internal/modules/'),
    );
    if (isLeftOut || us < 0) continue;
    root.totalUs += us;
    let frame = root;
    for (const node of stack) {
      if (node.callFrame.functionName === '(root)') continue;
      const own = frameOf(node);
      const known = frame.children.get(own.name) ?? own;
      frame.children.set(own.name, known);
      known.totalUs += us;
      frame = known;
    }
  }
  return root;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}

/** @param title what was profiled. */
export function drawFlameGraph(profile: CpuProfile, title: string): string {
  const root = merge(profile);
  const scale = width / root.totalUs;
  const boxes: string[] = [];
  let depth = 0;
  const draw = (frame: Frame, x: number, level: number): void => {
    const boxWidth = frame.totalUs * scale;
    if (boxWidth < minBoxWidth) return;
    depth = Math.max(depth, level);
    const letters = Math.floor((boxWidth - 4) / letterWidth);
    const label = letters < 3 ? '' : frame.name.slice(0, letters);
    const share = ((frame.totalUs / root.totalUs) * 100).toFixed(1);
    const y = 30 + level * rowHeight;
    boxes.push(
      `<g><title>${escaped(frame.name)}: ${share} %</title><rect x="${x.toFixed(1)}" y="${y}" width="${Math.max(boxWidth - 0.5, 0.3).toFixed(1)}" height="${rowHeight - 1}" fill="${colours[frame.kind]}"/>${label === '' ? '' : `<text x="${(x + 2).toFixed(1)}" y="${y + 12}">${escaped(label)}</text>`}</g>`,
    );
    let at = x;
    for (const child of [...frame.children.values()].toSorted((a, b) => b.totalUs - a.totalUs)) {
      draw(child, at, level + 1);
      at += child.totalUs * scale;
    }
  };
  draw(root, 0, 0);
  const height = 40 + (depth + 1) * rowHeight;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="monospace" font-size="11">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="4" y="18" font-size="14">${escaped(title)}; orange: kexer, green: Node, grey: V8 and native</text>`,
    ...boxes,
    '</svg>',
    '',
  ].join('\n');
}
