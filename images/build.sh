#!/bin/sh
# Builds the small Linux guest that tests and demonstrations boot: Debian's cloud kernel (Ubuntu: the
# virtual one), busybox, the QEMU guest agent and the ticker from guest/. Needs no root.
# Prints the directory with vmlinuz, initrd.img and image.json as its last line; progress is on stderr.
set -eu
LC_ALL=C
export LC_ALL
umask 022

here=$(cd "$(dirname "$0")" && pwd)
guest=$here/../guest
cache=$here/.cache
out=
DEFAULT_CMDLINE='console=ttyS0 quiet no_timer_check cryptomgr.notests'

usage() {
  cat <<END
usage: images/build.sh [--out DIR] [--cache DIR]
  --out DIR     directory for the image (default: images/.cache/<hash of everything that goes in>)
END
}

say() { echo "images/build.sh: $*" >&2; }
fail() {
  say "$*"
  exit 1
}

while [ $# -gt 0 ]; do
  case $1 in
    --out)
      [ $# -ge 2 ] || fail 'give a directory after --out'
      out=$2
      shift 2
      ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 64 ;;
  esac
done

[ "$(uname -m)" = x86_64 ] || fail "builds x86_64 guests only, and this machine is $(uname -m)"
for tool in apt-get apt-cache dpkg-deb cpio gzip sha256sum flock; do
  command -v "$tool" >/dev/null || fail "needs $tool; run: apt-get install apt dpkg cpio gzip coreutils util-linux"
done

hash_of() { sha256sum | cut -c1-16; }

scripts_key() {
  (
    cd "$here"
    cat build.sh init name-ports power power-button feed-watchdog guest-console
    cd "$guest"
    cat install.sh vmpulse-ticker
  ) | hash_of
}

kernel_package() {
  for meta in linux-image-cloud-amd64 linux-image-virtual; do
    apt-cache depends "$meta" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1
  done | head -n 1
}

# The libraries are downloaded too: the host may have none, or others.
packages() {
  kernel=$(kernel_package)
  [ -n "$kernel" ] || return 1
  echo "$kernel"
  version=${kernel#linux-image-}
  version=${version#unsigned-}
  # Debian's image package holds the modules, Ubuntu's does not.
  apt-cache show "linux-modules-$version" >/dev/null 2>&1 && echo "linux-modules-$version"
  echo busybox-static
  echo util-linux
  echo qemu-guest-agent
  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
    --no-enhances qemu-guest-agent | grep '^lib' | grep -Ev 'perl|^lib(db|gdbm|bz2)' | sort -u
}

# A directory that holds an image for these scripts, though perhaps with older packages.
stale_image() {
  for json in "$cache/$1"-*/image.json ${out:+"$out/image.json"}; do
    if grep -qs "\"key\": \"$1-" "$json"; then
      dirname "$json"
      return 0
    fi
  done
  return 1
}

use_stale_or_fail() {
  if dir=$(stale_image "$scripts"); then
    say "$1; using the image built before"
    cd "$dir" && pwd
    exit 0
  fi
  fail "$1; run: apt-get update (and look at the network)"
}

build() {
  root=$work/root
  unpacked=$work/unpacked
  mkdir -p "$work/debs" "$unpacked" "$root" "$work/image"
  say "downloading $(echo "$list" | wc -w) packages"
  # shellcheck disable=SC2086  # one word a package
  (cd "$work/debs" && apt-get -q -o APT::Sandbox::User="$(id -un)" download $list >&2) ||
    use_stale_or_fail 'a package could not be downloaded'
  for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$unpacked"; done
  lay_out
  pack
}

# $1 is the file that lists them in the order to load. What is built in (Ubuntu) or does not exist is left out.
copy_modules() {
  part=$1
  shift
  mkdir -p "$root/lib/modules"
  for name in "$@"; do
    file=$(find "$unpacked/lib/modules" "$unpacked/usr/lib/modules" -name "$name.ko*" 2>/dev/null | head -n 1)
    [ -n "$file" ] || continue
    case $file in
      *.zst) zstd -dqc "$file" >"$root/lib/modules/$name.ko" ;;
      *.xz) xz -dc "$file" >"$root/lib/modules/$name.ko" ;;
      *) cp "$file" "$root/lib/modules/$name.ko" ;;
    esac
    echo "$name.ko" >>"$root/lib/modules/$part"
  done
}

# The dynamic linker of the packages itself says which of their libraries a program needs.
copy_program() {
  linker=$(find "$unpacked" -name 'ld-linux-x86-64.so.2' | head -n 1)
  path=
  for folder in "$unpacked/lib/x86_64-linux-gnu" "$unpacked/usr/lib/x86_64-linux-gnu"; do
    [ ! -d "$folder" ] || path=$path${path:+:}$folder
  done
  install -D -m 755 "$1" "$root/usr/bin/${1##*/}"
  mkdir -p "$root/lib64" "$root/lib/x86_64-linux-gnu"
  cp -L "$linker" "$root/lib64/ld-linux-x86-64.so.2"
  "$linker" --library-path "$path" --list "$1" | sed -n 's/^.* => \(\/[^ ]*\) .*$/\1/p' |
    while read -r library; do
      case $library in
        "$unpacked"/*) cp -L "$library" "$root/lib/x86_64-linux-gnu/" ;;
        *) fail "$1 needs $library, which is not in the packages" ;;
      esac
    done
}

lay_out() {
  mkdir -p "$root/bin" "$root/sbin" "$root/etc" "$root/dev" "$root/proc" "$root/sys" "$root/run" "$root/tmp" \
    "$root/var" "$root/root"
  ln -s ../run "$root/var/run"
  busybox=$(find "$unpacked" -path '*bin/busybox' -type f | head -n 1)
  install -m 755 "$busybox" "$root/bin/busybox"
  # Without modprobe the kernel does not start a process for each module it would like to have.
  for applet in $("$busybox" --list); do
    case $applet in
      busybox | modprobe | reboot | poweroff | halt | init | linuxrc) ;;
      *) ln -s busybox "$root/bin/$applet" ;;
    esac
  done
  copy_modules first virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_console
  copy_modules rest pvpanic pvpanic-pci button evdev virtio_blk failover net_failover virtio_net i6300esb msr
  copy_program "$(find "$unpacked" -path '*bin/qemu-ga' -type f)"
  copy_program "$(find "$unpacked" -path '*bin/chrt' -type f)"
  install -m 755 "$here/init" "$root/init"
  install -m 755 "$here/name-ports" "$here/power-button" "$here/feed-watchdog" "$here/guest-console" "$root/sbin/"
  install -m 755 "$here/power" "$root/sbin/shutdown"
  for name in reboot poweroff halt; do ln -s shutdown "$root/sbin/$name"; done
  echo 'PRETTY_NAME="vmpulse test guest"' >"$root/etc/os-release"
  echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
  echo 'root:x:0:' >"$root/etc/group"
  DESTDIR=$root sh "$guest/install.sh" --init none >&2
}

pack() {
  cp "$(find "$unpacked/boot" -name 'vmlinuz-*' | head -n 1)" "$work/image/vmlinuz"
  chmod 644 "$work/image/vmlinuz"
  find "$root" -exec touch -h -d @0 {} +
  (cd "$root" && find . -mindepth 1 | sort | cpio --quiet --reproducible -o -H newc -R 0:0) |
    gzip -n9 >"$work/image/initrd.img"
  kernel_version=$(basename "$(find "$unpacked/boot" -name 'vmlinuz-*' | head -n 1)" | sed 's/^vmlinuz-//')
  cat >"$work/image/image.json" <<END
{
  "key": "$key",
  "kernel": "vmlinuz",
  "initrd": "initrd.img",
  "cmdline": "$DEFAULT_CMDLINE",
  "kernelVersion": "$kernel_version",
  "kernelBytes": $(wc -c <"$work/image/vmlinuz"),
  "initrdBytes": $(wc -c <"$work/image/initrd.img"),
  "minMemoryMiB": 128
}
END
}

fresh() { grep -qs "\"key\": \"$key\"" "$dir/image.json"; }

scripts=$(scripts_key)
# Asking apt takes seconds, so its answer holds for as long as its lists stay as they are.
lists=$(stat -c '%n %Y %s' /var/lib/apt/lists /var/lib/apt/lists/*_Packages* 2>/dev/null |
  hash_of)
known=$cache/known-$scripts-$lists
mkdir -p "$cache"
if [ -r "$known" ]; then
  read -r key <"$known"
  dir=${out:-$cache/$key}
  if fresh; then
    cd "$dir" && pwd
    exit 0
  fi
fi
list=$(packages) || use_stale_or_fail 'the package lists hold no kernel'
# shellcheck disable=SC2086  # one word a package
uris=$(apt-get download --print-uris $list 2>/dev/null) || use_stale_or_fail 'the package lists are incomplete'
key=$scripts-$(echo "$uris" | sed "s/^'[^']*' //" | sort | hash_of)
dir=${out:-$cache/$key}

mkdir -p "$cache" "$(dirname "$dir")"
if ! fresh; then
  # Whoever comes second finds the image of the first.
  exec 8>"$(dirname "$dir")/.lock"
  flock 8
fi
if ! fresh; then
  work=$(mktemp -d "$(dirname "$dir")/.build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  trap 'exit 1' INT TERM HUP
  build
  if [ -e "$dir" ]; then mv "$dir" "$work/old"; fi
  mv "$work/image" "$dir"
  # Images of scripts long changed, and what a killed build left behind.
  find "$cache" -mindepth 1 -maxdepth 1 -mtime +7 ! -name .lock -exec rm -rf {} +
  say "built $(du -ch "$dir/vmlinuz" "$dir/initrd.img" | tail -n 1 | cut -f 1) in $dir"
fi
echo "$key" >"$known.$$" && mv "$known.$$" "$known"
cd "$dir" && pwd
