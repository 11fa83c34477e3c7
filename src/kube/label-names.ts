// The rules of apimachinery/pkg/util/validation for names and labels, with its messages. Each check returns the complaints, none
// for a good value.

const qualifiedNameShape = '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]';
const dns1123LabelShape = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const dns1035LabelShape = '[a-z]([-a-z0-9]*[a-z0-9])?';
const dns1123SubdomainShape = String.raw`${dns1123LabelShape}(\.${dns1123LabelShape})*`;

const qualifiedName = new RegExp(`^${qualifiedNameShape}$`);
const labelValue = new RegExp(`^(${qualifiedNameShape})?$`);
const dns1123Label = new RegExp(`^${dns1123LabelShape}$`);
const dns1035Label = new RegExp(`^${dns1035LabelShape}$`);
const dns1123Subdomain = new RegExp(`^${dns1123SubdomainShape}$`);

function tooLong(max: number): string {
  return `must be no more than ${max} bytes`;
}

export function checkDns1123Subdomain(value: string): string[] {
  const complaints: string[] = [];
  if (value.length > 253) complaints.push(tooLong(253));
  if (!dns1123Subdomain.test(value)) {
    complaints.push(
      `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '${dns1123SubdomainShape}')`,
    );
  }
  return complaints;
}

export function checkDns1123Label(value: string): string[] {
  const complaints: string[] = [];
  if (value.length > 63) complaints.push(tooLong(63));
  if (!dns1123Label.test(value)) {
    complaints.push(
      dns1123Subdomain.test(value)
        ? 'must not contain dots'
        : `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '${dns1123LabelShape}')`,
    );
  }
  return complaints;
}

export function checkDns1035Label(value: string): string[] {
  const complaints: string[] = [];
  if (value.length > 63) complaints.push(tooLong(63));
  if (!dns1035Label.test(value)) {
    complaints.push(
      `a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '${dns1035LabelShape}')`,
    );
  }
  return complaints;
}

/** Names of RBAC objects: anything that can stand in a path (path.ValidatePathSegmentName). */
export function checkPathSegment(value: string): string[] {
  if (value === '.' || value === '..') return [`may not be '${value}'`];
  return ['/', '%'].filter((mark) => value.includes(mark)).map((mark) => `may not contain '${mark}'`);
}

/** Label keys and annotation keys: `[prefix/]name`. */
export function checkQualifiedName(value: string): string[] {
  const complaints: string[] = [];
  const parts = value.split('/');
  const name = parts.at(-1) ?? '';
  if (parts.length > 2) {
    return [
      `a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '${qualifiedNameShape}') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`,
    ];
  }
  if (parts.length === 2) {
    const prefix = parts[0] ?? '';
    if (prefix === '') complaints.push('prefix part must be non-empty');
    else complaints.push(...checkDns1123Subdomain(prefix).map((complaint) => `prefix part ${complaint}`));
  }
  if (name === '') complaints.push('name part must be non-empty');
  else if (name.length > 63) complaints.push(`name part ${tooLong(63)}`);
  if (!qualifiedName.test(name)) {
    complaints.push(
      `name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '${qualifiedNameShape}')`,
    );
  }
  return complaints;
}

export function checkLabelValue(value: string): string[] {
  const complaints: string[] = [];
  if (value.length > 63) complaints.push(tooLong(63));
  if (!labelValue.test(value)) {
    complaints.push(
      `a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(${qualifiedNameShape})?')`,
    );
  }
  return complaints;
}
