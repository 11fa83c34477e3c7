// The end of an exhaustive `switch`: compiles only while every case is handled, throws if a value came from outside the type.

/** @throws TypeError always; the parameter's type `never` makes an unhandled case a compile error. */
export function unreachable(value: never): never {
  throw new TypeError(`Unreachable value ${JSON.stringify(value)}`);
}
