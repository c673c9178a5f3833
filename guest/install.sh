#!/bin/sh
# Installs the vmpulse ticker in this machine (the guest), for systemd or OpenRC; run again to update.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
DESTDIR=${DESTDIR:-}
program=/usr/local/sbin/vmpulse-ticker
config=/etc/vmpulse-ticker.conf
unit=/etc/systemd/system/vmpulse-ticker.service
openrc=/etc/init.d/vmpulse-ticker
readme=/usr/local/share/doc/vmpulse-ticker/README.md
init=
interval=
uninstall=0

usage() {
  cat <<END
usage: sh install.sh [--interval MS] [--init systemd|openrc|none] [--uninstall]
  --interval MS   time between two ticks, 100 to 60000 (default 1000; kept in $config)
  --init WHICH    which service to install (default: found out); none installs the program alone
  --uninstall     stop it and remove everything, the configuration too
With DESTDIR set the files go below it and no service is started.
Example: sudo sh install.sh --interval 500
END
}

fail() {
  echo "install.sh: $*" >&2
  exit 1
}

while [ $# -gt 0 ]; do
  case $1 in
    --interval | --init)
      [ $# -ge 2 ] || fail "give a value after $1"
      if [ "$1" = --interval ]; then interval=$2; else init=$2; fi
      shift 2
      ;;
    --uninstall)
      uninstall=1
      shift
      ;;
    -h | --help) usage && exit 0 ;;
    *)
      usage >&2
      exit 64
      ;;
  esac
done

case $interval in
  *[!0-9]* | 0* | ??????*) fail "--interval takes 100 to 60000 milliseconds, not '$interval'" ;;
esac
if [ -n "$interval" ] && { [ "$interval" -lt 100 ] || [ "$interval" -gt 60000 ]; }; then
  fail "--interval takes 100 to 60000 milliseconds, not '$interval'"
fi

# On a running machine the init that runs counts; below DESTDIR, what is installed there.
find_init() {
  if [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; then
    echo systemd
  elif [ -z "$DESTDIR" ] && [ -d /run/openrc ]; then
    echo openrc
  elif [ -x "$DESTDIR/lib/systemd/systemd" ] || [ -x "$DESTDIR/usr/lib/systemd/systemd" ]; then
    echo systemd
  elif [ -x "$DESTDIR/sbin/openrc-run" ]; then
    echo openrc
  fi
}
[ -n "$init" ] || init=$(find_init)
case $init in
  systemd | openrc | none) ;;
  '') fail 'finds neither systemd nor OpenRC; say --init none and start the program from your own init' ;;
  *) fail "--init takes systemd, openrc or none, not '$init'" ;;
esac

if [ -z "$DESTDIR" ] && [ "$(id -u)" != 0 ]; then fail 'needs root; run: sudo sh install.sh'; fi

# Replaces in one step, so that a ticker that is just starting never reads half a file.
put() {
  mkdir -p "$DESTDIR${3%/*}"
  cp "$here/$2" "$DESTDIR$3.new"
  chmod "$1" "$DESTDIR$3.new"
  mv -f "$DESTDIR$3.new" "$DESTDIR$3"
}

# Services are only touched on the machine that runs them.
systemd_runs() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }
openrc_runs() { [ -z "$DESTDIR" ] && [ -d /run/openrc ]; }

remove() {
  if systemd_runs && [ -e "$unit" ]; then systemctl disable --now vmpulse-ticker.service || :; fi
  if openrc_runs && [ -e "$openrc" ]; then
    rc-service vmpulse-ticker stop || :
    rc-update del vmpulse-ticker default || :
  fi
  rm -f "$DESTDIR$unit" "$DESTDIR/etc/systemd/system/multi-user.target.wants/vmpulse-ticker.service" \
    "$DESTDIR$openrc" "$DESTDIR/etc/runlevels/default/vmpulse-ticker" \
    "$DESTDIR$program" "$DESTDIR$config" "$DESTDIR$readme"
  rmdir "$DESTDIR${readme%/*}" 2>/dev/null || :
  if systemd_runs; then systemctl daemon-reload; fi
  echo 'vmpulse-ticker is removed'
}

install_config() {
  if [ -n "$interval" ]; then
    mkdir -p "$DESTDIR/etc"
    kept=$(grep -sv '^INTERVAL_MS=' "$DESTDIR$config" || :)
    printf '%s\n' ${kept:+"$kept"} "INTERVAL_MS=$interval" >"$DESTDIR$config.new"
    mv -f "$DESTDIR$config.new" "$DESTDIR$config"
  elif [ ! -e "$DESTDIR$config" ]; then
    mkdir -p "$DESTDIR/etc"
    echo 'INTERVAL_MS=1000' >"$DESTDIR$config"
  fi
}

install_systemd() {
  put 644 vmpulse-ticker.service "$unit"
  if systemd_runs; then
    systemctl daemon-reload
    systemctl enable vmpulse-ticker.service
    systemctl restart vmpulse-ticker.service
  else
    mkdir -p "$DESTDIR/etc/systemd/system/multi-user.target.wants"
    ln -sf "$unit" "$DESTDIR/etc/systemd/system/multi-user.target.wants/vmpulse-ticker.service"
  fi
}

install_openrc() {
  put 755 vmpulse-ticker.openrc "$openrc"
  if openrc_runs; then
    rc-update add vmpulse-ticker default
    rc-service vmpulse-ticker restart
  else
    mkdir -p "$DESTDIR/etc/runlevels/default"
    ln -sf "$openrc" "$DESTDIR/etc/runlevels/default/vmpulse-ticker"
  fi
}

if [ $uninstall = 1 ]; then
  remove
  exit 0
fi
put 755 vmpulse-ticker "$program"
put 644 README.md "$readme"
install_config
case $init in
  systemd) install_systemd ;;
  openrc) install_openrc ;;
esac
echo "vmpulse-ticker is installed in ${DESTDIR:-this machine} (service: $init)"
if [ -z "$DESTDIR" ] && ! grep -qsx org.vmpulse.heartbeat.0 /sys/class/virtio-ports/*/name; then
  echo 'This machine has no port org.vmpulse.heartbeat.0 yet; README.md says how the host adds it.' >&2
fi
