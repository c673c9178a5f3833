import { join } from 'node:path';
import { SystemClock } from '../../packages/server/src/clock.ts';
import { VirtioSerialSource } from '../../packages/server/src/tick/virtio-serial.ts';
import { GuestPort, socketFolder } from '../support/guest-port.ts';
import { tickSourceContract, type TickSourceHarness } from './tick-source.ts';

tickSourceContract('virtio-serial', (): Promise<TickSourceHarness> => {
  const folder = socketFolder();
  const port = new GuestPort(join(folder.path, 'heartbeat.sock'));
  let seq = 0;
  return Promise.resolve({
    source: new VirtioSerialSource(new SystemClock()),
    address: port.path,
    open: () => port.open(),
    shut: () => port.close(),
    tick: () => {
      port.write(`tick ${seq} ${seq * 1000}\n`);
      seq += 1;
    },
    sendGarbage: (bytes) => port.write(`${'x'.repeat(bytes - 1)}\n`),
    dispose: async () => {
      await port.close();
      folder.remove();
    },
  });
});
