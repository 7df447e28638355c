// SPDX-License-Identifier: Apache-2.0
#include "testbenches/conform/iommu_conform.h"

#include <fmt/format.h>

#include <charconv>
#include <istream>
#include <memory>
#include <ostream>
#include <string_view>
#include <vector>

#include "iommu/core.h"
#include "sim/error.h"
#include "testbenches/conform/case_memory.h"
#include "testbenches/conform/text_input.h"

namespace conform {
namespace {

constexpr unsigned kMostRecords = 1u << 20;

using iommu::Cause;
using iommu::Outcome;
using iommu::Request;

/// Runs the operations of one case after the other; each answer is one line.
class Replayer final : public iommu::Surroundings {
 public:
  Replayer(std::string_view name, std::ostream& out, const IommuOptions& options)
      : name_(name), out_(out), options_(options) {
    memory_.events = &events_;
  }

  void line(std::size_t number, std::string_view text) {
    number_ = number;
    if (text.empty() || text[0] == '#') return;
    split(text);
    if (words_[0] == "C") {
      in_case_ = true;
      out_ << text << '\n';
      operation_ = 0;
      core_ = nullptr;
      memory_.reset();
      return;
    }
    if (words_[0] == ".") return;
    if (!in_case_) bad(fmt::format("operation '{}' before the first C line", words_[0]));
    events_.clear();
    answer_.clear();
    operate();
    if (!answer_.empty()) out_ << operation_ << ' ' << answer_ << events_ << '\n';
    ++operation_;
  }

  void fence_begins(bool pr, bool pw) override {
    if (pr || pw) events_ += fmt::format(" ; go={:d}{:d}", pr, pw);
  }
  void send(const iommu::AtsInvalidationRequest& m) override {
    events_ += fmt::format(" ; inval_req tag={:x} rid={:x} dsv={:d} dseg={:x} pv={:d} pid={:x} payload={:x}",
                           m.itag, m.rid, m.dsv, m.dseg, m.has_process_id, m.process_id, m.payload);
  }
  void send(const iommu::PageRequestGroupResponse& m) override {
    (answering_ ? response_ : events_) +=
        fmt::format(" ; prgr rid={:x} dsv={:d} dseg={:x} pv={:d} pid={:x} prgi={:x} resp={:x}", m.rid, m.dsv,
                    m.dseg, m.has_process_id, m.process_id, m.prgi, m.code);
  }

 private:
  [[noreturn]] void bad(std::string_view message) const { throw sim::Error(name_, number_, message); }

  void split(std::string_view text) {
    words_.clear();
    while (!text.empty()) {
      const std::size_t space = text.find(' ');
      if (space != 0) words_.push_back(text.substr(0, space));
      if (space == std::string_view::npos) break;
      text.remove_prefix(space + 1);
    }
    if (words_.empty()) bad("an empty operation");
  }
  std::uint64_t hex(std::string_view word) const {
    std::uint64_t v = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), v, 16);
    if (error != std::errc() || end != word.data() + word.size()) {
      bad(fmt::format("'{}' is not a hexadecimal number", word));
    }
    return v;
  }
  std::uint64_t arg(std::size_t i) const {
    if (i >= words_.size()) bad(fmt::format("operation '{}' needs {} words", words_[0], i + 1));
    return hex(words_[i]);
  }
  /// The same of a register offset: what does not fit 32 bits must not become another register.
  std::uint32_t offset(std::size_t i) const {
    const std::uint64_t v = arg(i);
    if ((v >> 32) != 0) bad(fmt::format("'{}' is not a register offset", words_[i]));
    return static_cast<std::uint32_t>(v);
  }
  void nothing_after(std::size_t count) const {
    if (words_.size() > count)
      bad(fmt::format("operation '{}' has no word for '{}'", words_[0], words_[count]));
  }
  /// Words of an operation, its letter included; 0 = unknown, it complains itself.
  static std::size_t words_of(char op) {
    constexpr std::string_view kOperations = "MFfWRITQXYDGKE";
    constexpr std::size_t kWords[] = {3, 4, 1, 4, 3, 3, 11, 3, 1, 1, 3, 9, 6, 2};
    const std::size_t at = kOperations.find(op);
    return at == std::string_view::npos ? 0 : kWords[at];
  }

  void operate() {
    const std::string_view op = words_[0];
    if (op == "P") return configure();
    if (core_ == nullptr) bad("an operation before the P line of its case");
    if (op.size() != 1) bad(fmt::format("unknown operation '{}'", op));
    if (const std::size_t count = words_of(op[0]); count != 0) nothing_after(count);
    switch (op[0]) {
      case 'M':
        return write_memory();
      case 'F':
        return add_fault();
      case 'f':
        return memory_.clear_faults();
      case 'W':
        return write_register();
      case 'R':
      case 'I':
        answer_ = fmt::format(
            "{} {:x}", op,
            core_->read_register(offset(1), static_cast<unsigned>(arg(2))));
        return;
      case 'T':
        return translate();
      case 'Q':
        return command();
      case 'X':
        return drain_faults();
      case 'Y':
        return drain_page_requests();
      case 'D':
        return dump();
      case 'G':
        return page_request();
      case 'K':
        return invalidation_completion();
      case 'E':
        core_->invalidation_timeout(static_cast<std::uint32_t>(arg(1)));
        return command_status("E");
      default:
        bad(fmt::format("unknown operation '{}'", op));
    }
  }

  void configure() {
    iommu::IommuConfig config;
    iommu::ArchitectureConfig& a = config.architecture;
    std::uint64_t mailbox = 0, mailbox_bytes = 0;
    const auto unsigned_of = [](std::uint64_t v) { return static_cast<unsigned>(v); };
    for (std::size_t i = 1; i < words_.size(); ++i) {
      const std::size_t equals = words_[i].find('=');
      if (equals == std::string_view::npos) bad(fmt::format("'{}' is not key=value", words_[i]));
      const std::string_view key = words_[i].substr(0, equals);
      const std::uint64_t v = hex(words_[i].substr(equals + 1));
      if (key == "caps")
        a.capabilities = v;
      else if (key == "fctl")
        a.fctl_reset = unsigned_of(v);
      else if (key == "gxlw")
        a.gxl_writable = v != 0;
      else if (key == "bew")
        a.be_writable = v != 0;
      else if (key == "nhpm")
        a.hpm_counters = unsigned_of(v);
      else if (key == "ctrbits")
        a.hpm_counter_bits = unsigned_of(v);
      else if (key == "evlim")
        a.hpm_max_event = unsigned_of(v);
      else if (key == "vecbits")
        a.vector_bits = unsigned_of(v);
      else if (key == "rmode")
        a.reset_mode = static_cast<iommu::DdtMode>(v);
      else if (key == "maxmode")
        a.max_mode = static_cast<iommu::DdtMode>(v);
      else if (key == "didmask")
        a.device_id_mask = unsigned_of(v);
      else if (key == "qosmask")
        a.qosid_mask = unsigned_of(v);
      else if (key == "baresz")
        a.bare_stage_bytes = v;
      else if (key == "mbox")
        mailbox = v;
      else if (key == "mboxlen")
        mailbox_bytes = v;
      else
        bad(fmt::format("unknown key '{}'", key));
    }
    try {
      config.validate("");
    } catch (const sim::Error& e) {
      bad(e.what());
    }
    core_ = std::make_unique<iommu::Core>(config, sim::RandomStream(1, 0, "conform.iommu"), *this);
    memory_.set_mailbox(mailbox, mailbox_bytes);
  }

  void write_memory() {
    const std::uint64_t address = arg(1);
    if (words_.size() != 3 || words_[2].size() % 2 != 0) bad("M needs an address and whole bytes");
    bytes_.clear();
    for (std::size_t i = 0; i < words_[2].size(); i += 2) {
      bytes_.push_back(static_cast<std::uint8_t>(hex(words_[2].substr(i, 2))));
    }
    memory_.poke(address, bytes_.data(), bytes_.size());
  }

  void add_fault() {
    const std::uint64_t address = arg(1), length = arg(2);
    if (words_.size() != 4 || words_[3].size() != 1 ||
        std::string_view("ACW").find(words_[3]) == std::string_view::npos) {
      bad("F needs address, length and one of A, C, W");
    }
    memory_.add_fault(address, length, static_cast<CaseMemory::FaultKind>(words_[3][0]));
  }

  void write_register() {
    core_->write_register(offset(1), static_cast<unsigned>(arg(2)), arg(3));
    core_->settle(memory_);
    answer_ = "W";
  }

  Request parse_request() const {
    if (words_.size() != 11) bad("T needs 10 arguments");
    const std::string_view at = words_[4], rw = words_[5];
    if (at != "U" && at != "A" && at != "T") bad(fmt::format("'{}' is not one of U, A, T", at));
    if (rw != "R" && rw != "W") bad(fmt::format("'{}' is not one of R, W", rw));
    Request r;
    r.device_id = static_cast<std::uint32_t>(arg(1));
    r.has_process_id = arg(2) != 0;
    r.process_id = static_cast<std::uint32_t>(arg(3));
    r.privileged = arg(7) != 0;
    r.no_write = arg(8) != 0;
    r.cxl = arg(9) != 0;
    r.iova = arg(10);
    const bool execute = arg(6) != 0;
    if (at == "A") {
      r.address_type = sim::AddressType::kTranslationRequest;
      r.read = true;
      r.write = !r.no_write;
      r.execute = execute && r.has_process_id;
    } else {
      if (at == "T") r.address_type = sim::AddressType::kTranslated;
      r.write = rw == "W";
      r.execute = execute && !r.write && (at != "T" || r.has_process_id);
      r.read = !r.write && (at == "T" || !r.execute);
    }
    return r;
  }

  void translate() {
    const Request r = parse_request();
    const Outcome o = core_->translate(
        r, memory_, options_.caches ? iommu::Walk::CacheUse::kFull : iommu::Walk::CacheUse::kNone);
    core_->settle(memory_);
    if (!o.ok()) {
      switch (iommu::refusal(r, o.cause)) {
        case iommu::Refusal::kUnsupportedRequest:
          answer_ = "T UR";
          break;
        case iommu::Refusal::kCompleterAbort:
          answer_ = "T CA";
          break;
        case iommu::Refusal::kNothingGranted:
          answer_ = "T OK R=0 W=0";
          break;
      }
    } else if (r.is_ats()) {
      answer_ats(r, o);
    } else if (o.mrif) {
      answer_ =
          fmt::format("T OK mrif={:x} nid={:x} npa={:x}", o.mrif_address, o.notice_id, o.notice_address);
    } else {
      answer_ = fmt::format("T OK pa={:x} sz={} pbmt={} msi={:d}", o.address, o.page_shift, o.pbmt, o.msi);
    }
  }

  void answer_ats(const Request& r, const Outcome& o) {
    const iommu::AtsGrant g = iommu::ats_grant(r, o);
    if (!g.read && !g.write) {
      answer_ = "T OK R=0 W=0";
      return;
    }
    answer_ = fmt::format("T OK R={:d} W={:d} X={:d} U={:d} priv={:d} G={:d} cxl={} N=0 ama=0", g.read,
                          g.write, g.execute, g.untranslated_only, g.privileged, g.global,
                          g.cxl_io_known ? (g.cxl_io ? "1" : "0") : "x");
    if (!g.untranslated_only) answer_ += fmt::format(" pa={:x} sz={}", o.address, o.page_shift);
  }

  void command_status(std::string_view op) {
    core_->settle(memory_);
    answer_ = fmt::format("{} cqh={:x} cqcsr={:x}", op, core_->commands.regs.head, core_->commands.regs.csr);
  }

  void command() {
    const std::uint64_t words[2] = {arg(1), arg(2)};
    iommu::QueueRegisters& cq = core_->commands.regs;
    std::uint8_t raw[iommu::kCommandBytes];
    for (int i = 0; i < 2; ++i) iommu::store64(raw + 8 * i, words[i], core_->env.big_endian());
    memory_.poke(cq.address() + std::uint64_t{cq.tail} * iommu::kCommandBytes, raw, sizeof raw);
    core_->write_register(iommu::reg::kCqt, 4, (cq.tail + 1) & cq.index_mask());
    command_status("Q");
  }

  void drain_faults() {
    iommu::QueueRegisters& fq = core_->fault_queue.regs;
    std::string records;
    unsigned n = 0;
    for (std::uint32_t i = fq.head; i != fq.tail; i = (i + 1) & fq.index_mask(), ++n) {
      if (n == kMostRecords) bad("more records in a queue than any case makes");
      std::uint8_t raw[iommu::kFaultRecordBytes];
      memory_.peek(fq.address() + std::uint64_t{i} * sizeof raw, raw, sizeof raw);
      iommu::FaultRecord r;
      for (int w = 0; w < 4; ++w) r.dw[w] = iommu::load64(raw + 8 * w, core_->env.big_endian());
      const auto cause = static_cast<unsigned>(r.cause());
      std::uint64_t iotval2 = r.iotval2();
      if (cause >= 20 && cause <= 23) iotval2 &= ~std::uint64_t{0xffc};
      records +=
          fmt::format(" [cause={} ttyp={} did={:x} pv={:d} pid={:x} priv={:d} iotval={:x} iotval2={:x}]",
                      cause, static_cast<unsigned>(r.ttyp()), r.device_id(), r.has_process_id(),
                      r.process_id(), r.privileged(), r.iotval(), iotval2);
    }
    answer_ = fmt::format("X {}{}", n, records);
    core_->write_register(iommu::reg::kFqh, 4, fq.tail);
    core_->settle(memory_);
  }

  void drain_page_requests() {
    iommu::QueueRegisters& pq = core_->page_queue.regs;
    std::string records;
    unsigned n = 0;
    for (std::uint32_t i = pq.head; i != pq.tail; i = (i + 1) & pq.index_mask(), ++n) {
      if (n == kMostRecords) bad("more records in a queue than any case makes");
      std::uint8_t raw[iommu::kPageRequestBytes];
      memory_.peek(pq.address() + std::uint64_t{i} * sizeof raw, raw, sizeof raw);
      const std::uint64_t w0 = iommu::load64(raw, core_->env.big_endian());
      records += fmt::format(" [did={:x} pv={:d} pid={:x} priv={:d} exec={:d} payload={:x}]",
                             iommu::bits(w0, 63, 40), iommu::bit(w0, 32), iommu::bits(w0, 31, 12),
                             iommu::bit(w0, 33), iommu::bit(w0, 34),
                             iommu::load64(raw + 8, core_->env.big_endian()));
    }
    answer_ = fmt::format("Y {}{}", n, records);
    core_->write_register(iommu::reg::kPqh, 4, pq.tail);
    core_->settle(memory_);
  }

  void dump() {
    if (arg(2) > (1u << 20)) bad("D of more than 1 MiB");
    bytes_.resize(arg(2));
    memory_.peek(arg(1), bytes_.data(), bytes_.size());
    answer_ = "D ";
    for (std::uint8_t b : bytes_) answer_ += fmt::format("{:02x}", b);
  }

  void page_request() {
    iommu::PageRequest m;
    m.rid = static_cast<std::uint16_t>(arg(1));
    m.dsv = arg(2) != 0;
    m.dseg = static_cast<std::uint8_t>(arg(3));
    m.has_process_id = arg(4) != 0;
    m.process_id = static_cast<std::uint32_t>(arg(5));
    m.privileged = arg(6) != 0;
    m.execute = arg(7) != 0;
    m.payload = arg(8);
    const Outcome o =
        core_->translate(iommu::Core::as_request(m), memory_,
                         options_.caches ? iommu::Walk::CacheUse::kFull : iommu::Walk::CacheUse::kNone);
    // The record and its interrupt come before the answer to the device.
    response_.clear();
    answering_ = true;
    core_->page_request_done(m, o);
    core_->settle(memory_);
    answering_ = false;
    events_ += response_;
    answer_ = "G";
  }

  void invalidation_completion() {
    const bool expected = core_->invalidation_completion(
        {static_cast<std::uint16_t>(arg(1)), arg(2) != 0, static_cast<std::uint8_t>(arg(3)),
         static_cast<std::uint32_t>(arg(4)), static_cast<std::uint8_t>(arg(5))});
    command_status(expected ? "K unexp=0" : "K unexp=1");
  }

  std::string name_;
  std::ostream& out_;
  IommuOptions options_;
  std::size_t number_ = 0;
  unsigned operation_ = 0;
  bool in_case_ = false;
  std::vector<std::string_view> words_;
  std::vector<std::uint8_t> bytes_;
  std::string events_, answer_;
  std::string response_;  // to the page request under way
  bool answering_ = false;
  std::unique_ptr<iommu::Core> core_;
  CaseMemory memory_;
};

}  // namespace

void replay_iommu_cases(std::istream& in, const std::string& name, std::ostream& out,
                        const IommuOptions& options) {
  Replayer replayer(name, out, options);
  std::string line;
  for (std::size_t number = 1; std::getline(in, line); ++number) replayer.line(number, line);
}

void replay_iommu_file(const std::string& path, std::ostream& out, const IommuOptions& options) {
  const std::string text = read_text(path);
  Replayer replayer(path == "-" ? "standard input" : path, out, options);
  std::string_view rest = text;
  for (std::size_t number = 1; !rest.empty(); ++number) {
    const std::size_t end = rest.find('\n');
    replayer.line(number, rest.substr(0, end));
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
}

}  // namespace conform
