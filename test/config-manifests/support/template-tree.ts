// The part of Go's text/template that the chart is written in, as a tree: actions with trim markers, pipelines, if, range, with, define and
// comments. Whatever it does not know is an error and never text, so that a template can use nothing that is not rendered here as Go does.

/** An operand or a call: words of a command in a pipeline. */
export type Word =
  | { readonly type: 'literal'; readonly value: string | number | boolean | null }
  | { readonly type: 'field'; readonly from: 'dot' | 'root'; readonly names: readonly string[] }
  | { readonly type: 'name'; readonly name: string }
  | { readonly type: 'group'; readonly pipeline: Pipeline; readonly names: readonly string[] };

export type Command = readonly Word[];
export type Pipeline = readonly Command[];

export type Node =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'print'; readonly pipeline: Pipeline }
  | {
      readonly type: 'if' | 'range' | 'with';
      readonly pipeline: Pipeline;
      readonly body: readonly Node[];
      readonly other: readonly Node[];
    };

export interface Template {
  readonly nodes: readonly Node[];
  readonly defined: ReadonlyMap<string, readonly Node[]>;
}

interface Piece {
  readonly isAction: boolean;
  readonly text: string;
}

/** Text and actions in order, white space trimmed where `{{-` and `-}}` say so. */
function piecesOf(source: string): Piece[] {
  const pieces: Piece[] = [];
  let rest = source;
  let trimsNext = false;
  const addText = (text: string): void => {
    pieces.push({ isAction: false, text: trimsNext ? text.replace(/^\s+/, '') : text });
  };
  for (;;) {
    const start = rest.indexOf('{{');
    if (start === -1) {
      addText(rest);
      return pieces;
    }
    const match = /^\{\{(- )?((?:\/\*[^]*?\*\/)|(?:"(?:[^"\\]|\\.)*"|`[^`]*`|[^}"`])*?)( -|-)?\}\}/.exec(
      rest.slice(start),
    );
    if (match === null) throw new SyntaxError(`no end of an action: ${rest.slice(start, start + 40)}`);
    const [whole, trimsBefore, , trimsAfter] = match;
    const inner = match[2] ?? '';
    const before = rest.slice(0, start);
    addText(trimsBefore === undefined ? before : before.replace(/\s+$/, ''));
    // A comment touches its trim markers or not; anything else needs the space.
    const action = inner.trim();
    if (!action.startsWith('/*')) pieces.push({ isAction: true, text: action });
    trimsNext = trimsAfter !== undefined;
    rest = rest.slice(start + whole.length);
  }
}

const tokenShape =
  /\s*("(?:[^"\\]|\\.)*"|`[^`]*`|-?\d+|\$?(?:\.[A-Za-z_]\w*)+|\$[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*|\$|\.|[A-Za-z_]\w*|[()|])/y;

function tokensOf(text: string): string[] {
  const tokens: string[] = [];
  tokenShape.lastIndex = 0;
  while (tokenShape.lastIndex < text.trimEnd().length) {
    const at = tokenShape.lastIndex;
    const match = tokenShape.exec(text);
    if (match === null) throw new SyntaxError(`unexpected ${JSON.stringify(text.slice(at))} in {{ ${text} }}`);
    tokens.push(match[1] ?? '');
  }
  return tokens;
}

function parsePipeline(text: string): Pipeline {
  const tokens = tokensOf(text);
  const pipeline = readPipeline(tokens);
  if (tokens.length > 0) throw new SyntaxError(`unexpected ${JSON.stringify(tokens[0])} in {{ ${text} }}`);
  return pipeline;
}

/** Takes tokens up to the end or a closing parenthesis. */
function readPipeline(tokens: string[]): Pipeline {
  const commands: Word[][] = [[]];
  for (;;) {
    const token = tokens[0];
    if (token === undefined || token === ')') break;
    tokens.shift();
    if (token === '|') commands.push([]);
    else if (token === '(') {
      const pipeline = readPipeline(tokens);
      if (tokens.shift() !== ')') throw new SyntaxError('a parenthesis is not closed');
      // `(pipeline).name`: the tokens of the names follow at once.
      const after = tokens[0] ?? '';
      const names = after.startsWith('.') && after.length > 1 ? after.slice(1).split('.') : [];
      if (names.length > 0) tokens.shift();
      commands.at(-1)?.push({ type: 'group', pipeline, names });
    } else commands.at(-1)?.push(wordOf(token));
  }
  if (commands.some((command) => command.length === 0)) throw new SyntaxError('an empty command');
  return commands;
}

function wordOf(token: string): Word {
  if (token.startsWith('"')) return { type: 'literal', value: JSON.parse(token) as string };
  if (token.startsWith('`')) return { type: 'literal', value: token.slice(1, -1) };
  if (/^-?\d+$/.test(token)) return { type: 'literal', value: Number(token) };
  if (token === 'true' || token === 'false') return { type: 'literal', value: token === 'true' };
  if (token === 'nil') return { type: 'literal', value: null };
  if (token === '.') return { type: 'field', from: 'dot', names: [] };
  const [first = '', ...names] = token.split('.');
  if (first === '') return { type: 'field', from: 'dot', names };
  if (first === '$') return { type: 'field', from: 'root', names };
  if (first.startsWith('$')) throw new SyntaxError(`variables are not rendered here: ${first}`);
  return { type: 'name', name: token };
}

interface Frame {
  readonly nodes: Node[];
  readonly close: (nodes: readonly Node[], other: readonly Node[]) => void;
  other: Node[] | undefined;
  /** `else if` opens a block that its own `end` closes too. */
  readonly isChained: boolean;
}

/** @throws SyntaxError for what Go would refuse, and for what is not known here. */
export function parseTemplate(source: string): Template {
  const nodes: Node[] = [];
  const defined = new Map<string, readonly Node[]>();
  const frames: Frame[] = [];
  const current = (): Node[] => {
    const frame = frames.at(-1);
    return frame === undefined ? nodes : (frame.other ?? frame.nodes);
  };
  const open = (type: 'if' | 'range' | 'with', text: string, isChained: boolean): void => {
    const target = current();
    const pipeline = parsePipeline(text);
    const close = (body: readonly Node[], other: readonly Node[]): void => {
      target.push({ type, pipeline, body, other });
    };
    frames.push({ nodes: [], close, other: undefined, isChained });
  };
  const end = (): void => {
    const frame = frames.pop();
    if (frame === undefined) throw new SyntaxError('an end without a beginning');
    frame.close(frame.nodes, frame.other ?? []);
    if (frame.isChained) end();
  };
  for (const { isAction, text } of piecesOf(source)) {
    if (!isAction) {
      if (text !== '') current().push({ type: 'text', text });
      continue;
    }
    const [keyword = ''] = text.split(/\s/, 1);
    const rest = text.slice(keyword.length).trim();
    if (keyword === 'if' || keyword === 'range' || keyword === 'with') open(keyword, rest, false);
    else if (keyword === 'end') end();
    else if (keyword === 'else') {
      const frame = frames.at(-1);
      if (frame === undefined || frame.other !== undefined) throw new SyntaxError('an else without an if');
      frame.other = [];
      if (rest.startsWith('if ')) open('if', rest.slice(3), true);
      else if (rest !== '') throw new SyntaxError(`else ${rest}`);
    } else if (keyword === 'define') {
      const name = JSON.parse(rest) as string;
      frames.push({ nodes: [], close: (body) => defined.set(name, body), other: undefined, isChained: false });
    } else current().push({ type: 'print', pipeline: parsePipeline(text) });
  }
  if (frames.length > 0) throw new SyntaxError('a block is not closed');
  return { nodes, defined };
}
