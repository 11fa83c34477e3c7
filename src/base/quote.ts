// Strings of a stranger inside a message for people or logs: quoted, with control characters escaped and the length bounded.

/** `value` in double quotes as Go's %q prints plain strings; cut after `maxLength` characters. */
export function quote(value: string, maxLength = 256): string {
  const shown = value.length > maxLength ? `${value.slice(0, maxLength)}…` : value;
  return JSON.stringify(shown);
}
