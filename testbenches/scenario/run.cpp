// SPDX-License-Identifier: Apache-2.0
#include "testbenches/scenario/run.h"

#include <time.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "pagepool/dump.h"
#include "platform/pcap_file.h"
#include "testbenches/checker/report.h"
#include "testbenches/cli/table.h"
#include "testbenches/scenario/holders.h"
#include "testbenches/scenario/script.h"
#include "testbenches/trace/ftrace.h"
#include "testbenches/trace/perfetto.h"
#include "waveforms/gtkw.h"
#include "waveforms/vcd.h"

namespace scenario {
namespace {

/// A run that has not ended this long after its last planned step has lost its way.
constexpr sim::Tick kPatience = 300 * sim::kSecond;

const char* to_string(DeviceFate fate) {
  switch (fate) {
    case DeviceFate::kStays:
      return "stays";
    case DeviceFate::kRemoved:
      return "removed";
    case DeviceFate::kRebound:
      return "rebound";
  }
  return "?";
}

/// What a kernel developer wants to see together, in the order a packet goes.
std::vector<waveforms::GtkwGroup> gtkw_groups() {
  using Color = waveforms::GtkwColor;
  using Format = waveforms::GtkwFormat;
  return {
      {"NIC queues and descriptor cache",
       Color::kOrange,
       {"wire", "nic.rx0", "nic.frames*", "nic.packet*", "nic.interrupts", "nic.reads*"},
       Format::kDecimal},
      {"PCIe link", Color::kYellow, {"link", "root_port"}, Format::kDecimal},
      {"IOTLB", Color::kGreen, {"iommu.iotlb.*"}, Format::kDecimal},
      {"IOMMU walks, faults, queues", Color::kRed, {"iommu"}, Format::kDecimal},
      {"DRAM commands", Color::kBlue, {"dram", "interconnect"}, Format::kDecimal},
      {"Cores", Color::kIndigo, {"kernel", "imsic"}, Format::kDecimal},
      {"Page pools", Color::kViolet, {"pagepool"}, Format::kDecimal},
  };
}

/// "finding:late_unmap". Throws sim::Error with the nearest right word for what is no trigger.
std::optional<checker::FindingClass> trigger_class(const std::string& trigger) {
  if (trigger.empty()) return std::nullopt;
  std::vector<std::string> words{"finding", "oops", "unbind"};
  for (std::size_t k = 0; k < checker::kFindingClasses; ++k) {
    const auto kind = static_cast<checker::FindingClass>(k);
    words.push_back(std::string("finding:") + checker::key(kind));
    if (trigger == words.back()) return kind;
  }
  throw sim::Error(fmt::format("--trigger: '{}' is none{}", trigger, sim::suggestion(trigger, words)));
}

}  // namespace

double cpu_seconds() {
  timespec t{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

nlohmann::ordered_json RunResult::to_json() const {
  nlohmann::ordered_json j;
  j["scenario"] = scenario;
  j["strategy"] = strategy;
  j["dma_mode"] = dma_mode;
  j["device"] = device;
  j["bind_error"] = bind_error;
  j["finished"] = finished;
  j["pages_outstanding"] = pages_outstanding;
  j["unmap_before_destroy"] = unmap_before;
  j["unmap_inside_destroy"] = unmap_inside;
  j["unmap_after_destroy"] = unmap_after;
  j["late_unmaps"] = late_unmaps;
  j["iommu_faults"] = iommu_faults;
  j["leaked_pages"] = leaked_pages;
  j["leaked_iovas"] = leaked_iovas;
  j["leaked_mappings"] = leaked_mappings;
  j["unbind_fs"] = unbind;
  j["unbind_ended"] = unbind_ended;
  j["rebound"] = rebound;
  j["rebind_fs"] = rebind;
  j["longest_bh_off_fs"] = longest_bh_off;
  j["longest_bh_off_function"] = longest_bh_off_function;
  j["longest_bh_off_chain"] = longest_bh_off_chain;
  j["longest_softirq_spin_fs"] = longest_spin;
  j["longest_softirq_spin_lock"] = longest_spin_lock;
  j["longest_softirq_spin_chain"] = longest_spin_chain;
  j["cycles_per_packet"] = cycles_per_packet;
  j["tracking_bytes"] = tracking_bytes;
  j["oops"] = oops.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(oops);
  j["findings"] = nlohmann::ordered_json::object();
  for (const auto& [kind, count] : findings) j["findings"][kind] = count;
  j["digest"] = digest;
  j["simulated_fs"] = simulated;
  j["cpu_seconds"] = cpu_seconds;
  j["wakeups"] = wakeups;
  j["packets"] = packets;
  j["read"] = read;
  j["alloc_failed"] = alloc_failed;
  j["warnings"] = warnings;
  j["dma_debug"] = dma_debug;
  j["dma_debug_errors"] = dma_debug_errors;
  j["dma_debug_pending"] = dma_debug_pending;
  j["dma_debug_forgotten"] = dma_debug_forgotten;
  j["dma_debug_disabled"] = dma_debug_disabled;
  j["swiotlb_full"] = swiotlb_full;
  j["scanned_pfns"] = scanned_pfns;
  j["pools"] = pools;
  j["hotplug_steps"] = hotplug_steps;
  j["hotplug_errors"] = hotplug_errors;
  j["longest_hotplug_wait_fs"] = longest_hotplug_wait;
  j["held_by"] = held_by;
  return j;
}

RunResult RunResult::from_json(const nlohmann::ordered_json& j) {
  RunResult r;
  r.scenario = j.at("scenario");
  r.strategy = j.at("strategy");
  r.dma_mode = j.at("dma_mode");
  r.device = j.at("device");
  r.bind_error = j.at("bind_error");
  r.finished = j.at("finished");
  r.pages_outstanding = j.at("pages_outstanding");
  r.unmap_before = j.at("unmap_before_destroy");
  r.unmap_inside = j.at("unmap_inside_destroy");
  r.unmap_after = j.at("unmap_after_destroy");
  r.late_unmaps = j.at("late_unmaps");
  r.iommu_faults = j.at("iommu_faults");
  r.leaked_pages = j.at("leaked_pages");
  r.leaked_iovas = j.at("leaked_iovas");
  r.leaked_mappings = j.at("leaked_mappings");
  r.unbind = j.at("unbind_fs");
  r.unbind_ended = j.at("unbind_ended");
  r.rebound = j.at("rebound");
  r.rebind = j.at("rebind_fs");
  r.longest_bh_off = j.at("longest_bh_off_fs");
  r.longest_bh_off_function = j.at("longest_bh_off_function");
  r.longest_bh_off_chain = j.at("longest_bh_off_chain");
  r.longest_spin = j.at("longest_softirq_spin_fs");
  r.longest_spin_lock = j.at("longest_softirq_spin_lock");
  r.longest_spin_chain = j.at("longest_softirq_spin_chain");
  r.cycles_per_packet = j.at("cycles_per_packet");
  r.tracking_bytes = j.at("tracking_bytes");
  if (!j.at("oops").is_null()) r.oops = j.at("oops");
  for (const auto& [kind, count] : j.at("findings").items()) r.findings.emplace_back(kind, count);
  r.digest = j.at("digest");
  r.simulated = j.at("simulated_fs");
  r.cpu_seconds = j.at("cpu_seconds");
  r.wakeups = j.at("wakeups");
  r.packets = j.at("packets");
  r.read = j.at("read");
  r.alloc_failed = j.at("alloc_failed");
  r.warnings = j.at("warnings").get<std::vector<std::string>>();
  r.dma_debug = j.at("dma_debug");
  r.dma_debug_errors = j.at("dma_debug_errors");
  r.dma_debug_pending = j.at("dma_debug_pending");
  r.dma_debug_forgotten = j.at("dma_debug_forgotten");
  r.dma_debug_disabled = j.at("dma_debug_disabled");
  r.swiotlb_full = j.at("swiotlb_full");
  r.scanned_pfns = j.at("scanned_pfns");
  r.pools = j.at("pools");
  r.hotplug_steps = j.at("hotplug_steps");
  r.hotplug_errors = j.at("hotplug_errors");
  r.longest_hotplug_wait = j.at("longest_hotplug_wait_fs");
  r.held_by = j.at("held_by");
  return r;
}

std::string RunResult::findings_text() const {
  std::string text;
  for (const auto& [kind, count] : findings) text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", kind, count);
  return text;
}

ScenarioRun::ScenarioRun(const RunConfig& config, RunOptions options)
    : config_(config),
      options_(std::move(options)),
      machine_(std::make_unique<platform::Machine>(config.machine)),
      checker_(std::make_unique<checker::Checker>(machine_->simulation().timeline())) {
  checker_->attach(machine_->memory_trace());
  checker_->attach(machine_->kernel().trace());
  checker_->attach(machine_->iommu());
  checker_->attach(machine_->nic().trace());
  checker_->attach(machine_->pools().trace());
  script_ = std::make_unique<Script>(*machine_, config_.scenario);
  if (!options_.rx_pcap.empty()) {
    platform::FrameStream capture;
    capture.capture =
        std::make_shared<const std::vector<platform::CapturedFrame>>(platform::read_pcap(options_.rx_pcap));
    capture.recorded_times = options_.rx_frames_per_second == 0 && !options_.rx_line_rate;
    if (options_.rx_frames_per_second != 0) capture.interval = sim::kSecond / options_.rx_frames_per_second;
    script_->replay(std::move(capture));
  }
  if (config_.scenario.stop_at_oops) {
    machine_->kernel().trace().oops.subscribe(
        [this](const kernel::Oops&) { machine_->simulation().timeline().stop(); });
  }
}

ScenarioRun::~ScenarioRun() = default;

RunResult ScenarioRun::run() {
  start();
  machine_->simulation().timeline().run_until(last_tick());
  return finish();
}

sim::Tick ScenarioRun::last_tick() const { return config_.scenario.end_delay + kPatience; }
void ScenarioRun::interrupt() { machine_->simulation().timeline().stop(); }
bool ScenarioRun::scenario_ended() const { return script_->finished(); }

void ScenarioRun::on_finding(const checker::Finding& finding) {
  if (perfetto_ != nullptr) perfetto_->finding(finding);
  if (trigger_finding_ && trigger_finding_(finding)) vcd_->trigger();
}

bool ScenarioRun::triggered() const {
  return options_.trigger.empty() || vcd_ == nullptr || vcd_->triggered_at() != sim::kNever;
}

void ScenarioRun::arm_waveform() {
  kernel::Trace& trace = machine_->kernel().trace();
  if (options_.trigger == "oops") {
    trace.oops.subscribe([this](const kernel::Oops&) { vcd_->trigger(); });
  } else if (options_.trigger == "unbind") {
    trace.device_unbinding.subscribe([this](const kernel::DeviceUnbinding&) { vcd_->trigger(); });
  } else if (options_.trigger == "finding") {
    trigger_finding_ = [](const checker::Finding&) { return true; };
  } else if (const std::optional<checker::FindingClass> kind = trigger_class(options_.trigger)) {
    trigger_finding_ = [kind](const checker::Finding& f) { return f.kind == *kind; };
  }
}

void ScenarioRun::start() {
  if (!options_.pcap.empty()) {
    pcap_ = std::make_unique<platform::PcapWriter>(options_.pcap, machine_->nic().trace());
  }
  if (!options_.vcd.empty()) {
    vcd_ = std::make_unique<waveforms::VcdWriter>(
        machine_->simulation().probes(), options_.vcd,
        waveforms::VcdOptions{
            .select = options_.vcd_probes,
            .from = options_.vcd_from,
            .to = options_.vcd_to,
            .before = options_.trigger.empty() ? sim::kNever : options_.trigger_before,
            .after = options_.trigger_after});
    arm_waveform();
  }
  if (!options_.perfetto.empty()) {
    perfetto_ = std::make_unique<trace::PerfettoRecorder>(trace::Observed::of(*machine_), options_.perfetto,
                                                          options_.vcd_from, options_.vcd_to);
  }
  if (perfetto_ != nullptr || trigger_finding_) {
    checker_->on_new_finding([this](const checker::Finding& f) { on_finding(f); });
  }
  if (!options_.ftrace.empty()) {
    ftrace_ = std::make_unique<trace::FtraceWriter>(trace::Observed::of(*machine_), options_.ftrace);
  }
  cpu_before_ = cpu_seconds();
  script_->start();
}

void ScenarioRun::close_outputs() {
  if (pcap_ != nullptr) pcap_->close();
  if (perfetto_ != nullptr) perfetto_->close();
  if (ftrace_ != nullptr) ftrace_->close();
  if (vcd_ != nullptr) {
    vcd_->close();
    std::string save = options_.vcd;
    if (const auto dot = save.rfind('.');
        dot != std::string::npos && save.find('/', dot) == std::string::npos) {
      save.resize(dot);
    }
    const sim::Tick triggered = vcd_->triggered_at();
    waveforms::write_gtkw(save + ".gtkw", *vcd_, gtkw_groups(),
                          triggered != sim::kNever ? triggered : script_->unbind_at());
  }
}

RunResult ScenarioRun::finish() {
  sim::Simulation& simulation = machine_->simulation();
  result_.cpu_seconds = cpu_seconds() - cpu_before_;
  machine_->kernel().report_open_sections();
  checker_->finish();
  machine_->check_conservation();
  close_outputs();

  const checker::Summary summary = checker_->summary();
  RunResult& r = result_;
  r.scenario = config_.scenario.name;
  r.strategy = config_.machine.pool.strategy;
  r.dma_mode = kernel::to_string(config_.machine.kernel.dma_mode);
  r.device = to_string(config_.scenario.device);
  r.bind_error = script_->bind_error();
  r.finished = script_->finished();
  r.pages_outstanding = script_->pages_outstanding();
  r.unmap_before = summary.unmap_before_destroy;
  r.unmap_inside = summary.unmap_inside_destroy;
  r.unmap_after = summary.unmap_after_destroy;
  r.late_unmaps = summary.late_unmaps;
  r.iommu_faults = summary.iommu_faults;
  r.leaked_pages = summary.leaked_pages;
  r.leaked_iovas = summary.leaked_iovas;
  r.leaked_mappings = summary.leaked_mappings;
  r.unbind_ended = summary.unbind_pending == 0 && summary.longest_unbind != 0;
  r.unbind = std::max(summary.longest_unbind, summary.unbind_pending);
  r.rebound = script_->rebound_at() != sim::kNever;
  if (r.rebound) r.rebind = script_->rebound_at() - script_->unbind_at();
  r.longest_bh_off = summary.longest_bh_off;
  r.longest_bh_off_function = summary.longest_bh_off_function;
  r.longest_bh_off_chain = summary.longest_bh_off_chain;
  r.longest_spin = summary.longest_spin;
  r.longest_spin_lock = summary.longest_spin_lock;
  r.longest_spin_chain = summary.longest_spin_chain;
  r.cycles_per_packet = script_->cycles_per_packet();
  for (const auto& pool : machine_->pools().pools()) r.tracking_bytes += pool->state().tracking_bytes_peak;
  // The DMA API's own table is there once, however many pools live on it.
  if (machine_->kernel().dma().tracker().on() && !machine_->pools().pools().empty())
    r.tracking_bytes -= (machine_->pools().pools().size() - 1) * kernel::MappingTracker::bytes();
  if (summary.oops) r.oops = fmt::format("{} + {:#x}", summary.oops->symbol, summary.oops->address);
  for (std::size_t k = 0; k < checker::kFindingClasses; ++k) {
    const auto kind = static_cast<checker::FindingClass>(k);
    if (const std::uint64_t n = checker_->findings().count(kind); n != 0)
      r.findings.emplace_back(checker::key(kind), n);
  }
  r.digest = simulation.digest().hex();
  r.simulated = simulation.now();
  r.wakeups = simulation.timeline().wakeups();
  r.packets = machine_->wire().frames_sent();
  r.read = machine_->stack().counters().read;
  r.alloc_failed = script_->ring_counters().alloc_failed;
  for (const auto& warning : machine_->kernel().warnings()) {
    if (std::ranges::find(r.warnings, warning.text) == r.warnings.end()) r.warnings.push_back(warning.text);
  }
  const kernel::DmaApi& dma = machine_->kernel().dma();
  r.dma_debug = config_.machine.kernel.dma_debug;
  r.dma_debug_errors = dma.debug().errors();
  r.dma_debug_pending = dma.debug().pending_at_unbind();
  r.dma_debug_forgotten = dma.debug().forgotten();
  r.dma_debug_disabled = dma.debug().disabled();
  r.swiotlb_full = dma.swiotlb().counters().full;
  r.scanned_pfns = machine_->pools().walked_pfns();
  r.pools = machine_->pools().pools().size();
  r.hotplug_steps = summary.hotplug_steps;
  r.hotplug_errors = summary.hotplug_errors;
  r.longest_hotplug_wait = summary.longest_hotplug_wait;
  std::map<std::string, std::uint64_t> held;
  for (const HolderReport& h : who_holds(*checker_, *machine_)) held[h.holder] += h.pages;
  for (const auto& [holder, pages] : held)
    r.held_by += fmt::format("{}{} x {}", r.held_by.empty() ? "" : ", ", pages, holder);
  return r;
}

std::string ScenarioRun::report() const {
  const RunResult& r = result_;
  std::string text =
      fmt::format("{}: strategy {}, DMA {}, device {}\n", r.scenario, r.strategy, r.dma_mode, r.device);
  text += fmt::format("simulated {}, {} packets, {} wake-ups, {:.3f} s CPU\n\n",
                      checker::format_time(r.simulated), r.packets, r.wakeups, r.cpu_seconds);

  text += "Kernel log\n";
  for (const auto& line : machine_->kernel().dmesg()) {
    text += fmt::format("  [{:>13.6f}] {}\n", static_cast<double>(line.time) / sim::kSecond, line.text);
  }
  text += "\nFindings\n";
  if (checker_->findings().empty()) text += "  none\n";
  text += checker::findings_text(*checker_);
  text += "\nWho holds it?\n";
  const std::string held = who_holds_text(who_holds(*checker_, *machine_), r.simulated);
  text += held.empty() ? "  nobody: every pool that was destroyed is gone\n" : held;
  text += "\n" + checker::in_flight_text(*checker_, /*lines=*/4);
  text += "\nPools\n" + machine_->pools().dump(/*gone_too=*/true);
  text += fmt::format("\ndigest {}\n", r.digest);
  return text;
}

std::string ScenarioRun::dump_pools() const {
  std::string text;
  for (const auto& pool : machine_->pools().pools()) {
    text += pagepool::dump_pool(*pool);
    text += checker::held_pages_text(*checker_, pool->id(), result_.simulated);
    text += who_holds_text(who_holds(*checker_, *machine_, pool->id()), result_.simulated);
  }
  return text;
}

nlohmann::ordered_json ScenarioRun::report_json() const {
  nlohmann::ordered_json j = result_.to_json();
  j["dmesg"] = nlohmann::ordered_json::array();
  for (const auto& line : machine_->kernel().dmesg()) {
    j["dmesg"].push_back({{"time_s", static_cast<double>(line.time) / sim::kSecond}, {"text", line.text}});
  }
  j["checker"] = checker::summary_json(*checker_);
  j["finding_list"] = checker::findings_json(*checker_);
  j["who_holds"] = who_holds_json(who_holds(*checker_, *machine_), result_.simulated);
  j["in_flight"] = checker::in_flight_json(*checker_);
  j["statistics"] = nlohmann::ordered_json::object();
  machine_->stats([&](std::string_view name, double value, std::string_view unit) {
    j["statistics"][std::string(name)] = {{"value", value}, {"unit", unit}};
  });
  return j;
}

}  // namespace scenario
