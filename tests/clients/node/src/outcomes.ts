// What became of one good and one bad call of an operation.
export interface Outcome {
  good: number;
  bad: number;
  // What the caller reads of the error, by its type.
  told: string;
}

// Where the service and the mock listen, and who calls.
export interface Given {
  service: string;
  mock: string;
  messagesKey: string;
  publishKey: string;
  certificate: string;
  system: string;
}

export function check(isSo: boolean, what: string): asserts isSo {
  if (!isSo) throw new Error(what);
}
