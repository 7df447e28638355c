// SPDX-License-Identifier: Apache-2.0
#include "testbenches/trace/capture_script.h"

#include <fmt/format.h>

#include <cctype>

#include "sim/error.h"

namespace trace {
namespace {

/// Where every put of a page ends. Renamed with the meaning of its reference: "fragments gone" (5.18),
/// "references gone" (6.8), netmem instead of page (6.10).
struct PutFunction {
  unsigned major, minor;
  const char* function;
  const char* page;  ///< name of the argument that the tracepoints of that kernel use
};
constexpr PutFunction kPuts[] = {{6, 10, "page_pool_put_unrefed_netmem", "netmem"},
                                 {6, 8, "page_pool_put_unrefed_page", "page"},
                                 {5, 18, "page_pool_put_defragged_page", "page"},
                                 {5, 15, "page_pool_put_page", "page"}};

const PutFunction& put_function(const KernelVersion& version) {
  for (const PutFunction& put : kPuts) {
    if (version.at_least(put.major, put.minor)) return put;
  }
  return kPuts[0];
}

constexpr const char* kHead = R"sh(#!/bin/sh
# Records the page_pool life cycle of a Linux {version} machine for `poolsim replay`. Printed by poolsim capture-script.
#
#   sh capture.sh [-o FILE] [-b KILOBYTES] [COMMAND ARGUMENT...]
#
# As root. Records while COMMAND runs, or until Enter; Ctrl-C ends the recording too, and it is kept. COMMAND may write "MARK ..." lines of its own into
# $POOLSIM_MARKER; they show up as steps of the scenario. For a driver unbind, for example:
#
#   sh capture.sh -o unbind.txt sh -c 'echo "MARK unbind" > "$POOLSIM_MARKER"
#     echo 0000:03:00.0 > /sys/bus/pci/drivers/igb/unbind; sleep 10'
#
# Start it before the driver is bound or the interface goes up: a pool whose creation was not recorded cannot be
# replayed. Everything that it sets it takes back.
set -eu

version={version}
series={series}
out=poolsim-capture.txt
kilobytes=65536
usage() {{
  echo "usage: $0 [-o FILE] [-b KILOBYTES per CPU] [COMMAND ARGUMENT...]" >&2
  exit 2
}}
while getopts o:b:h option; do
  case $option in
    o) out=$OPTARG ;;
    b) kilobytes=$OPTARG ;;
    *) usage ;;
  esac
done
shift $((OPTIND - 1))

[ "$(id -u)" = 0 ] || {{ echo "$0: needs root" >&2; exit 2; }}
case $(uname -r) in
  "$series" | "$series".* | "$series"-*) ;;
  *) echo "$0: made for Linux $version, this is $(uname -r): make another one if the capture does not join" >&2 ;;
esac

tracing=/sys/kernel/tracing
[ -e "$tracing/trace" ] || mount -t tracefs nodev "$tracing" 2>/dev/null || tracing=/sys/kernel/debug/tracing
[ -e "$tracing/trace" ] || {{ echo "$0: no tracefs (CONFIG_TRACING)" >&2; exit 1; }}
[ -e "$tracing/kprobe_events" ] || {{ echo "$0: no kprobes (CONFIG_KPROBE_EVENTS)" >&2; exit 1; }}

true > "$out"  # better now than after the recording

# An instance of its own: what others trace on this machine goes on.
instance=$tracing/instances/poolsim
mkdir "$instance" || {{ echo "$0: $instance is there already: another capture, or a dead one (rmdir it)" >&2; exit 1; }}

remove_probes() {{
  while read -r probe; do
    case $probe in
      *:poolsim*/*)
        probe=${{probe#*:}}
        echo "-:${{probe%% *}}" >> "$tracing/kprobe_events" || :
        ;;
    esac
  done << PROBES
$(cat "$tracing/kprobe_events")
PROBES
}}
clean() {{
  trap - EXIT
  trap '' HUP INT TERM
  echo 0 > "$instance/tracing_on" || :
  echo 0 > "$instance/events/enable" || :
  rmdir "$instance" || :
  remove_probes
}}
trap clean EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
remove_probes  # of a capture that was killed

# probe NEEDED GROUP/EVENT DEFINITION...: the first definition that this kernel takes. Every field has its type: by
# itself a kernel with BTF prints a dma_addr_t in decimal. Several groups may have an event
# of one name: the trace prints only the name.
probe() {{
  needed=$1
  event=$2
  shift 2
  for definition; do
    kind=${{definition%% *}}
    if echo "$kind:$event ${{definition#* }}" >> "$tracing/kprobe_events" 2>/dev/null; then
      echo 1 > "$instance/events/$event/enable"
      return 0
    fi
  done
  [ "$needed" = no ] || {{ echo "$0: this kernel takes no probe '$event' ($*)" >&2; exit 1; }}
  echo "$0: without '$event': this kernel has no such function" >&2
}}

# tracepoint NEEDED SYSTEM/EVENT
tracepoint() {{
  if [ -e "$instance/events/$2/enable" ]; then
    echo 1 > "$instance/events/$2/enable"
  elif [ "$1" = yes ]; then
    echo "$0: this kernel has no tracepoint $2 (CONFIG_PAGE_POOL, CONFIG_TRACEPOINTS)" >&2
    exit 1
  fi
}}

echo 0 > "$instance/tracing_on"
echo mono > "$instance/trace_clock"
echo "$kilobytes" > "$instance/buffer_size_kb"
echo 1 > "$instance/options/irq-info"
# Tracepoints print addresses as the kprobes do, not hashed.
[ ! -e "$instance/options/hash-ptr" ] || echo 0 > "$instance/options/hash-ptr"
echo 0 > "$instance/options/overwrite"  # a full buffer loses the end, and says so

for event in state_hold state_release release; do tracepoint yes page_pool/page_pool_$event; done
tracepoint no page_pool/page_pool_update_nid
for event in map unmap io_page_fault remove_device_from_group; do tracepoint no iommu/$event; done
for event in kfree_skb consume_skb; do tracepoint no skb/$event; done
tracepoint no net/netif_receive_skb
tracepoint no napi/napi_poll

probe yes poolsim/pp_create 'r page_pool_create pool=$retval:x64'
probe yes poolsim/pp_destroy 'p page_pool_destroy pool=$arg1:x64'
probe yes poolsim/pp_retry 'p page_pool_release_retry work=$arg1:x64'
probe no poolsim/pp_alloc 'r page_pool_alloc_pages page=$retval:x64'
)sh";

constexpr const char* kTail = R"sh(
# The first that this kernel has. drv=: the driver of the device, 0 after its unbind; grp=: its IOMMU group.
{unmap}probe yes poolsim/dma_map_ret 'r dma_map_page_attrs iova=$retval:x64'

# Both buses; the replay finds the device that the pools map for.
probe no poolsim_pci/drv_probe 'p pci_device_probe dev=$arg1:x64'
probe no poolsim_pci/drv_remove 'p pci_device_remove dev=$arg1:x64'
probe no poolsim_platform/drv_probe 'p platform_probe dev=$arg1:x64'
probe no poolsim_platform/drv_remove 'p platform_remove dev=$arg1:x64'
probe yes poolsim/dev_release 'p device_del dev=$arg1:x64'
probe no poolsim/netdev_free 'p free_netdev ndev=$arg1:x64'

POOLSIM_MARKER=$instance/trace_marker
export POOLSIM_MARKER
echo 1 > "$instance/tracing_on"
echo "MARK start" > "$POOLSIM_MARKER"
status=0
trap : INT
if [ $# -gt 0 ]; then
  "$@" || status=$?
else
  printf 'recording; Enter ends it ' >&2
  read -r _ || :
fi
trap 'exit 130' INT
echo "MARK end" > "$POOLSIM_MARKER"
echo 0 > "$instance/tracing_on"
cat "$instance/trace" > "$out"

lost=0
for stats in "$instance"/per_cpu/cpu*/stats; do
  while read -r key value; do
    case $key in overrun: | dropped) lost=$((lost + ${{value##* }})) ;; esac
  done < "$stats"
done
if [ "$lost" != 0 ]; then
  echo "$0: $lost events were lost: poolsim replay will not believe this; record again with -b $((kilobytes * 4))" >&2
  exit 1
fi
[ "$status" = 0 ] || echo "$0: the command ended with status $status" >&2
echo "$out: $(grep -c -v '^#' "$out") events; now: poolsim replay $out" >&2
)sh";

}  // namespace

KernelVersion KernelVersion::parse(const std::string& text) {
  KernelVersion v;
  v.text = text;
  unsigned* const parts[] = {&v.major, &v.minor};
  std::size_t at = 0;
  for (std::size_t i = 0; i < 2; ++i) {
    const std::size_t begin = at;
    while (at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])) != 0 && at - begin < 4)
      *parts[i] = *parts[i] * 10 + static_cast<unsigned>(text[at++] - '0');
    const bool ends =
        at == text.size() || text[at] == '.' || (i == 1 && (text[at] == '-' || text[at] == '+'));
    if (at == begin || !ends || (i == 0 && at == text.size())) {
      throw sim::Error(fmt::format("'{}' is not a kernel version like 6.12.26", text));
    }
    if (i == 0) ++at;
  }
  for (const char c : text) {  // it goes into a shell script
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 &&
        std::string_view(".-+_~").find(c) == std::string_view::npos)
      throw sim::Error(fmt::format("'{}' is not a kernel version like 6.12.26", text));
  }
  if (!v.at_least(5, 15)) {
    throw sim::Error(
        fmt::format("{}: kernels before 5.15 have another page_pool; the nearest is 5.15", text));
  }
  return v;
}

std::string capture_script(const KernelVersion& version) {
  const PutFunction& put = put_function(version);
  std::string script = fmt::format(fmt::runtime(kHead), fmt::arg("version", version.text),
                                   fmt::arg("series", fmt::format("{}.{}", version.major, version.minor)));
  script += fmt::format(
      "probe yes poolsim/pp_put 'p {} pool=$arg1:x64 {}=$arg2:x64 sync=$arg3:x32 direct=$arg4:u8'\n",
      put.function, put.page);

  // Fields by their names need BTF (6.6); without, who is bound is judged by time.
  const std::string bound = "drv=dev->driver:x64 ", group = "grp=dev->iommu_group:x64 ";
  const std::string map = "p dma_map_page_attrs dev=$arg1:x64 ",
                    map_rest = "page=$arg2:x64 off=$arg3:x64 size=$arg4:x64 dir=$arg5:u32";
  const std::string unmap = "p dma_unmap_page_attrs dev=$arg1:x64 ",
                    unmap_rest = "iova=$arg2:x64 size=$arg3:x64 dir=$arg4:u32";
  std::string probes = "probe yes poolsim/dma_map";
  if (version.at_least(6, 6)) probes += fmt::format(" \\\n  '{}{}{}'", map, bound, map_rest);
  probes += fmt::format(" \\\n  '{}{}'\nprobe yes poolsim/dma_unmap", map, map_rest);
  if (version.at_least(6, 6)) {
    probes += fmt::format(" \\\n  '{}{}{}{}' \\\n  '{}{}{}'", unmap, bound, group, unmap_rest, unmap, bound,
                          unmap_rest);
  }
  probes += fmt::format(" \\\n  '{}{}'\n", unmap, unmap_rest);
  script += fmt::format(fmt::runtime(kTail), fmt::arg("unmap", probes));
  return script;
}

}  // namespace trace
