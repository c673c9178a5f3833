import { describe, expect, it } from 'vitest';
import { type ErrorCode, VmError, isErrorCode } from './error.ts';
import { HResult, formatHResult } from './hresult.ts';

const codes = Object.keys(HResult).filter(isErrorCode);

describe('an error', () => {
  it('has a code of a closed set, to which success does not belong', () => {
    expect(codes.length).toBe(Object.keys(HResult).length - 2);
    for (const other of ['S_OK', 'S_FALSE', 'toString', 'E_MADE_UP', 7, null])
      expect(isErrorCode(other)).toBe(false);
  });

  it.each<[ErrorCode, number]>([
    ['VM_E_VM_UNKNOWN', 404],
    ['VMPULSE_E_NOT_FOUND', 404],
    ['VM_E_CONFIG_DUPLICATE_NAME', 409],
    ['VM_E_VM_RUNNING', 409],
    ['VM_E_CONFIG_NO_NAME', 400],
    ['VMPULSE_E_UNAUTHENTICATED', 401],
    ['E_ACCESSDENIED', 403],
    ['VMPULSE_E_CURSOR_EXPIRED', 410],
    ['E_UNEXPECTED', 500],
    ['E_NOTIMPL', 501],
    ['VMPULSE_E_HYPERVISOR', 502],
    ['VMPULSE_E_LOG_UNAVAILABLE', 503],
    ['VM_E_TIMED_OUT', 504],
  ])('%s is answered with HTTP %i', (code, status) => {
    expect(new VmError(code, '').status).toBe(status);
  });

  it('always has a status of a client or server error', () => {
    for (const code of codes)
      expect(Math.floor(new VmError(code, '').status / 100)).toSatisfy((n) => n === 4 || n === 5);
  });

  it('goes over the wire and comes back the same, without its cause', () => {
    for (const code of codes) {
      const error = new VmError(code, `what ${code}`, { field: '/disks/0/file', cause: new Error('secret') });
      const text = JSON.stringify(error.toProblem());
      expect(text).not.toContain('secret');
      const back = VmError.fromProblem(JSON.parse(text), 'fallback');
      expect([back.code, back.message, back.field, back.hresult]).toEqual([
        code,
        error.message,
        error.field,
        error.hresult,
      ]);
      expect(error.toProblem().hresult).toBe(formatHResult(HResult[code]));
    }
  });

  it('of an answer that is no problem document is E_UNEXPECTED with what is known', () => {
    for (const body of [undefined, null, 'x', [], {}, { code: 'S_OK' }, { code: 'E_MADE_UP', detail: 'd' }]) {
      expect(VmError.fromProblem(body, 'HTTP 502')).toMatchObject({
        code: 'E_UNEXPECTED',
        message: 'HTTP 502',
      });
    }
    expect(VmError.fromProblem({ code: 'E_FAIL', detail: 7 }, 'HTTP 409').message).toBe('HTTP 409');
  });

  it('is made of whatever was thrown, and keeps the cause', () => {
    const error = new VmError('E_FAIL', 'x');
    expect(VmError.from(error)).toBe(error);
    const thrown = new TypeError('secret');
    expect(VmError.from(thrown)).toMatchObject({ code: 'E_UNEXPECTED', cause: thrown });
    expect(VmError.from(thrown).message).not.toContain('secret');
  });
});
