// Label selectors in the form of a query (`a=b,c in (d,e),!f`), parsed as labels.Parse does with its error texts into a predicate over labels.

import { badRequest, StatusError } from './status.ts';
import { checkLabelValue, checkQualifiedName } from './label-names.ts';

export type Labels = Readonly<Record<string, string>>;
export type LabelPredicate = (labels: Labels) => boolean;

type TokenType =
  | 'identifier'
  | 'in'
  | 'notin'
  | '!'
  | '='
  | '=='
  | '!='
  | '('
  | ')'
  | ','
  | '>'
  | '<'
  | 'end'
  | 'error';

interface Token {
  readonly type: TokenType;
  readonly literal: string;
}

const symbols: readonly TokenType[] = ['!', '=', '==', '!=', '(', ')', ',', '>', '<'];

function tokenize(selector: string): Token[] {
  const tokens: Token[] = [];
  let index = 0;
  while (index < selector.length) {
    const char = selector.charAt(index);
    if (/[ \t\r\n]/.test(char)) {
      index += 1;
      continue;
    }
    const two = symbols.find((symbol) => symbol.length === 2 && selector.startsWith(symbol, index));
    const symbol = two ?? symbols.find((it) => it === char);
    if (symbol !== undefined) {
      tokens.push({ type: symbol, literal: symbol });
      index += symbol.length;
      continue;
    }
    const [word = char] = /^[^!=(),<> \t\r\n]+/.exec(selector.slice(index)) ?? [];
    tokens.push({ type: word === 'in' || word === 'notin' ? word : 'identifier', literal: word });
    index += word.length;
  }
  tokens.push({ type: 'end', literal: '' });
  return tokens;
}

class LabelSelectorParser {
  readonly #tokens: readonly Token[];
  #next = 0;

  constructor(selector: string) {
    this.#tokens = tokenize(selector);
  }

  parse(): LabelPredicate[] {
    const requirements: LabelPredicate[] = [];
    for (;;) {
      const first = this.#peek();
      if (first.type === 'end') return requirements;
      if (first.type !== 'identifier' && first.type !== '!') {
        throw new TypeError(`found '${first.literal}', expected: !, identifier, or 'end of string'`);
      }
      try {
        requirements.push(this.#requirement());
      } catch (error) {
        throw new TypeError(`unable to parse requirement: ${error instanceof Error ? error.message : ''}`, {
          cause: error,
        });
      }
      const after = this.#take();
      if (after.type === 'end') return requirements;
      if (after.type !== ',') throw new TypeError(`found '${after.literal}', expected: ',' or 'end of string'`);
      const following = this.#peek();
      if (following.type !== 'identifier' && following.type !== '!') {
        throw new TypeError(`found '${following.literal}', expected: identifier after ','`);
      }
    }
  }

  #requirement(): LabelPredicate {
    let token = this.#take();
    const isNegated = token.type === '!';
    if (isNegated) token = this.#take();
    if (token.type !== 'identifier') throw new TypeError(`found '${token.literal}', expected: identifier`);
    const key = token.literal;
    const complaints = checkQualifiedName(key);
    if (complaints.length > 0) {
      throw new TypeError(`<nil>: Invalid value: ${JSON.stringify(key)}: ${complaints.join('; ')}`);
    }
    if (isNegated) return (labels) => labels[key] === undefined;
    const next = this.#peek().type;
    if (next === 'end' || next === ',') return (labels) => labels[key] !== undefined;
    const operator = this.#tokens[this.#next] ?? { type: 'end', literal: '' };
    this.#next += 1;
    switch (operator.type) {
      case 'in':
      case 'notin': {
        const values = new Set(checked(key, this.#values()));
        return operator.type === 'in'
          ? (labels) => labels[key] !== undefined && values.has(labels[key])
          : (labels) => labels[key] === undefined || !values.has(labels[key]);
      }
      case '=':
      case '==':
      case '!=': {
        const [value = ''] = checked(key, [this.#exactValue()]);
        return operator.type === '!=' ? (labels) => labels[key] !== value : (labels) => labels[key] === value;
      }
      case '>':
      case '<':
        return comparison(key, operator.type, this.#exactValue());
      default:
        throw new TypeError(`found '${operator.literal}', expected: in, notin, =, ==, !=, gt, lt`);
    }
  }

  #exactValue(): string {
    const next = this.#peek();
    if (next.type === 'end' || next.type === ',') return '';
    this.#take();
    if (next.type !== 'identifier') throw new TypeError(`found '${next.literal}', expected: identifier`);
    return next.literal;
  }

  #values(): string[] {
    const open = this.#take();
    if (open.type !== '(') throw new TypeError(`found '${open.literal}' expected: '('`);
    const values: string[] = [];
    let expectsValue = true;
    for (;;) {
      const token = this.#take();
      if (token.type === 'identifier' && expectsValue) {
        values.push(token.literal);
        expectsValue = false;
      } else if (token.type === ',') {
        if (expectsValue) values.push('');
        expectsValue = true;
      } else if (token.type === ')') {
        if (expectsValue && values.length > 0) values.push('');
        return values;
      } else {
        throw new TypeError(
          `found '${token.literal}', expected: ${expectsValue ? "',', or identifier" : "',' or ')'"}`,
        );
      }
    }
  }

  /** In the places of values and keys the words `in` and `notin` are plain identifiers. */
  #peek(): Token {
    const token = this.#tokens[this.#next] ?? { type: 'end', literal: '' };
    return token.type === 'in' || token.type === 'notin' ? { type: 'identifier', literal: token.literal } : token;
  }

  #take(): Token {
    const token = this.#peek();
    this.#next += 1;
    return token;
  }
}

function checked(key: string, values: readonly string[]): readonly string[] {
  for (const [index, value] of values.entries()) {
    const complaints = checkLabelValue(value);
    if (complaints.length > 0) {
      throw new TypeError(
        `values[${index}][${key}]: Invalid value: ${JSON.stringify(value)}: ${complaints.join('; ')}`,
      );
    }
  }
  return values;
}

function comparison(key: string, operator: '>' | '<', value: string): LabelPredicate {
  if (!/^-?\d+$/.test(value)) {
    throw new TypeError(
      `values[0]: Invalid value: ${JSON.stringify(value)}: for 'Gt', 'Lt' operators, the value must be an integer`,
    );
  }
  const bound = Number(value);
  return (labels) => {
    const found = labels[key];
    if (found === undefined || !/^-?\d+$/.test(found)) return false;
    return operator === '>' ? Number(found) > bound : Number(found) < bound;
  };
}

/** @throws StatusError 400 with the text of labels.Parse. */
export function parseLabelSelector(selector: string | null): LabelPredicate | undefined {
  if (selector === null || selector.trim() === '') return undefined;
  let requirements: LabelPredicate[];
  try {
    requirements = new LabelSelectorParser(selector).parse();
  } catch (error) {
    throw new StatusError(badRequest(error instanceof Error ? error.message : ''), { cause: error });
  }
  return (labels) => requirements.every((requirement) => requirement(labels));
}
