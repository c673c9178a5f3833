/** The one error of vmpulse: a closed set of codes, each with its HRESULT and HTTP status; cause kept, never leaked. */
import {
  HResult,
  type HResultName,
  commonResults,
  formatHResult,
  ownResults,
  virtualServerResults,
} from './hresult.ts';

/** Success codes are not errors. */
type SuccessName = 'S_OK' | 'S_FALSE';

/** The name of an error: one of the original's, of Windows' or of vmpulse's own codes. */
export type ErrorCode = Exclude<HResultName, SuccessName>;

/** HTTP status of each code; those not named here are 409 for the original's codes and 500 for all others. */
const statuses: Partial<Record<ErrorCode, number>> = {
  VM_E_VM_UNKNOWN: 404,
  VMPULSE_E_NOT_FOUND: 404,
  E_FILE_NOT_FOUND: 422,
  E_PATH_NOT_FOUND: 422,
  VM_E_PREF_NOT_FOUND: 404,
  VM_E_PREF_ILLEGAL_VALUE: 400,
  VM_E_CONFIG_NO_NAME: 400,
  VM_E_CONFIG_NAME_TOO_LONG: 400,
  VM_E_CONFIG_NAME_INVALID_CHAR: 400,
  E_INVALIDARG: 400,
  VMPULSE_E_REQUEST_INVALID: 400,
  E_INVALID_NAME: 400,
  E_BAD_PATHNAME: 400,
  VMPULSE_E_UNAUTHENTICATED: 401,
  E_ACCESSDENIED: 403,
  E_ALREADY_EXISTS: 409,
  E_BUFFER_OVERFLOW: 409,
  E_FAIL: 409,
  E_ABORT: 409,
  VMPULSE_E_OPERATION_IN_PROGRESS: 409,
  VMPULSE_E_CURSOR_EXPIRED: 410,
  VMPULSE_E_NOT_SERVED: 409,
  VM_E_DRIVE_INVALID: 422,
  VM_E_HD_IMAGE_OPEN_FAIL: 422,
  VM_E_INVALID_HD_FILE: 422,
  VM_E_TIMED_OUT: 504,
  VM_E_OUT_OF_RESOURCE: 503,
  VM_E_APP_SHUTTING_DOWN: 503,
  VMPULSE_E_LOG_UNAVAILABLE: 503,
  VMPULSE_E_TOO_MANY_STREAMS: 503,
  VMPULSE_E_HYPERVISOR: 502,
  VMPULSE_E_UNREACHABLE: 503,
  E_NOTIMPL: 501,
};

/** RFC 9457 problem document, as the server answers every error. */
export interface ProblemDocument {
  /** `urn:vmpulse:error:VM_E_VM_UNKNOWN` */
  type: string;
  /** The code's name. */
  title: string;
  /** HTTP status. */
  status: number;
  /** What is wrong and what to do, for a person. */
  detail: string;
  /** The code's name, for a program. */
  code: ErrorCode;
  /** `0xA0040207` */
  hresult: string;
  /** Where the error belongs to one field of the request: its JSON pointer. */
  field?: string;
}

/** Is `name` one of the closed set of error codes? */
export function isErrorCode(name: unknown): name is ErrorCode {
  return typeof name === 'string' && Object.hasOwn(HResult, name) && name !== 'S_OK' && name !== 'S_FALSE';
}

/** An error with a code of the closed set. Its message says what is wrong and what to do. */
export class VmError extends Error {
  readonly code: ErrorCode;
  /** JSON pointer of the request's field at fault, where there is one. */
  readonly field: string | undefined;

  constructor(code: ErrorCode, detail: string, options: { cause?: unknown; field?: string } = {}) {
    super(detail, 'cause' in options ? { cause: options.cause } : undefined);
    this.name = 'VmError';
    this.code = code;
    this.field = options.field;
  }

  /** The code as a number. */
  get hresult(): number {
    return HResult[this.code];
  }

  /** HTTP status the server answers with. */
  get status(): number {
    return statuses[this.code] ?? (this.code in virtualServerResults ? 409 : 500);
  }

  /** The problem document of this error; the cause stays here. */
  toProblem(): ProblemDocument {
    return {
      type: `urn:vmpulse:error:${this.code}`,
      title: this.code,
      status: this.status,
      detail: this.message,
      code: this.code,
      hresult: formatHResult(this.hresult),
      ...(this.field === undefined ? {} : { field: this.field }),
    };
  }

  /** Whatever was thrown, as a VmError: itself, or E_UNEXPECTED with the cause kept. */
  static from(thrown: unknown): VmError {
    if (thrown instanceof VmError) return thrown;
    return new VmError(
      'E_UNEXPECTED',
      'Something unexpected failed inside vmpulse; its log has the details.',
      {
        cause: thrown,
      },
    );
  }

  /** The error that a server's answer describes; `fallback` when the answer is no problem document. */
  static fromProblem(body: unknown, fallback: string): VmError {
    if (typeof body === 'object' && body !== null) {
      const { code, detail, field } = body as Record<string, unknown>;
      if (isErrorCode(code)) {
        const text = typeof detail === 'string' ? detail : fallback;
        return new VmError(code, text, typeof field === 'string' ? { field } : {});
      }
    }
    return new VmError('E_UNEXPECTED', fallback);
  }
}

/** The name of an HRESULT, or its number in hexadecimal where it is none of ours. */
export function hresultName(hresult: number): string {
  const unsigned = hresult >>> 0;
  for (const table of [virtualServerResults, commonResults, ownResults]) {
    for (const [name, value] of Object.entries(table)) if (value === unsigned) return name;
  }
  return formatHResult(hresult);
}
