// SPDX-License-Identifier: Apache-2.0
// The order in which a real device's requests reach memory behind link and root port: payload before its
// write-back before its MSI-X, in every descriptor mode, with credits short, reads between, and a memory that
// holds back.
#include <gtest/gtest.h>

#include "../nic/nic_host.h"
#include "harness.h"
#include "platform/pcie_link.h"
#include "platform/root_port.h"

namespace {

using namespace nic;
using nic_test::Host;
using platform::CreditLimits;

/// The 82576 of `Host`, with a link and a root port between it and memory.
struct LinkedHost : Host {
  LinkedHost(const std::string& name, const platform::PcieLinkConfig& link_config,
             const platform::RootPortConfig& port_config)
      : Host(name, {}, {}, /*direct=*/false),
        cpu((name + "_cpu").c_str(), sim, sim::Clock(400 * sim::kPicosecond)),
        bar((name + "_bar").c_str(), sim, sim::Clock(4 * sim::kNanosecond)),
        space((name + "_space").c_str(), sim, sim::Clock(4 * sim::kNanosecond)),
        link((name + "_link").c_str(), sim, link_config),
        port((name + "_port").c_str(), sim, port_config) {
    nic.dma.bind(link.from_device);
    link.to_root.bind(port.from_link);
    port.to_iommu.bind(memory.port);
    cpu.socket.bind(port.from_cpu);
    port.to_link_config.bind(link.from_root_config);
    port.to_link_mmio.bind(link.from_root_mmio);
    link.to_device_mmio.bind(bar.socket);
    link.to_device_config.bind(space.socket);
  }
  void settle_link() {
    do {
      run(2 * sim::kMicrosecond);
    } while (!nic.idle() || !memory.idle() || !link.idle() || !port.idle());
  }
  harness::Source cpu;
  harness::Sink bar, space;
  platform::PcieLink link;
  platform::RootPort port;
};

/// A TCP segment with `payload` bytes that count from `number` on.
std::vector<std::uint8_t> segment(std::size_t payload, unsigned number) {
  auto f = nic_test::from_hex("5254001234560200000000990800");
  const auto total = static_cast<std::uint16_t>(40 + payload);
  const std::vector<std::uint8_t> headers = nic_test::from_hex(
      "450000000000400040060000"
      "0a0000010a0000020400005000000001000000025010100000000000");
  f.insert(f.end(), headers.begin(), headers.end());
  f[16] = static_cast<std::uint8_t>(total >> 8);
  f[17] = static_cast<std::uint8_t>(total);
  for (std::size_t i = 0; i < payload; ++i)
    f.push_back(static_cast<std::uint8_t>(number * 37 + i * 11 + i / 256));
  f.resize(std::max<std::size_t>(f.size(), 60));
  return f;
}

constexpr unsigned kRingSize = 256;

/// What the law says, checked at each arrival in memory.
class Watcher {
 public:
  Watcher(LinkedHost& host, std::uint32_t descriptor_type) : h_(host), type_(descriptor_type) {
    h_.link.set_tlp_fault([this](tlm::tlm_generic_payload& p, bool doorbell) {
      if (doorbell || !p.is_write()) return platform::TlpVerdict{};
      entered_.push_back(p.get_address());
      if (is_write_back(p.get_address())) ++write_backs_entered_;
      if (p.get_address() == Host::doorbell(3)) written_before_msi_.push_back(write_backs_entered_);
      return tamper ? tamper(p) : platform::TlpVerdict{};
    });
    h_.memory.observer = [this](const tlm::tlm_generic_payload& p) {
      if (!p.is_write()) return;
      if (p.get_address() != entered_.at(arrived_)) ++out_of_order;
      ++arrived_;
      if (is_write_back(p.get_address())) write_back(p);
      if (p.get_address() == Host::doorbell(3)) message();
    };
  }
  std::vector<std::vector<std::uint8_t>> frames;  ///< sent, in order
  std::function<platform::TlpVerdict(tlm::tlm_generic_payload&)> tamper;
  unsigned out_of_order = 0;           ///< posted writes that arrived in another order than they were sent
  unsigned payload_missing = 0;        ///< write-backs before the bytes that they announce
  unsigned write_back_missing = 0;     ///< MSI-X before a write-back that was sent before it
  unsigned packets = 0, messages = 0;  ///< announced
  bool message_last = false;           ///< nothing was written back after the last MSI-X
  bool all_arrived() const { return arrived_ == entered_.size(); }

 private:
  static bool is_write_back(std::uint64_t address) {
    return address >= Host::ring_of(0) && address < Host::ring_of(0) + 16 * kRingSize;
  }
  /// One TLP may bring several descriptors.
  void write_back(const tlm::tlm_generic_payload& p) {
    ++write_backs_arrived_;
    message_last = false;
    const auto first = static_cast<unsigned>((p.get_address() - Host::ring_of(0)) / 16);
    for (unsigned i = first; i < first + p.get_data_length() / 16; ++i) descriptor(i);
  }
  void descriptor(unsigned i) {
    const RxDescriptor d = h_.rx_descriptor(0, i);
    const bool legacy = type_ == srrctl::kLegacy;
    const std::size_t length = legacy ? d.qw1 & 0xffff : d.packet_length();
    ASSERT_TRUE(legacy ? d.qw1 >> 32 & 1 : d.dd()) << i;
    if (!legacy && d.header_length() != 0) {
      const auto header = h_.bytes(Host::buffer_of(0, i) + 0x800, d.header_length());
      if (type_ == srrctl::kHeaderSplit || type_ == srrctl::kSplitAlways) {
        got_.insert(got_.end(), header.begin(), header.end());
      } else if (!std::equal(header.begin(), header.end(), frames.at(packets).begin())) {
        ++payload_missing;
      }
    }
    const auto body = h_.bytes(Host::buffer_of(0, i), length);
    got_.insert(got_.end(), body.begin(), body.end());
    if (!(legacy ? d.qw1 >> 32 & 2 : d.eop())) return;
    const auto& sent = frames.at(packets++);
    if (got_ != sent) ++payload_missing;
    got_.clear();
  }
  void message() {
    if (write_backs_arrived_ < written_before_msi_.at(messages++)) ++write_back_missing;
    message_last = true;
  }

  LinkedHost& h_;
  std::uint32_t type_;
  std::vector<std::uint64_t> entered_;
  std::size_t arrived_ = 0;
  std::vector<unsigned> written_before_msi_;
  unsigned write_backs_entered_ = 0, write_backs_arrived_ = 0;
  std::vector<std::uint8_t> got_;
};

struct Condition {
  const char* name;
  CreditLimits root, device;
  unsigned hold_every = 0;
  unsigned write_back_threshold = 1;
  unsigned upstream_buffer = 64;
};
constexpr Condition kConditions[] = {
    {"unlimited", {}, {}},
    {"one_posted_tlp", {1, 8, 1, 0, 0, 0}, {}},
    {"short_of_all", {2, 8, 1, 1, 1, 8}, {2, 8, 1, 1, 1, 8}, 5, 1, 2},
    {"data_credits_only", {0, 8, 0, 0, 0, 0}, {0, 0, 0, 0, 1, 32}, 3},
    {"write_backs_coalesced", {4, 16, 1, 0, 0, 0}, {}, 7, 4},
};

struct Mode {
  const char* name;
  srrctl::DescType type;
  unsigned packet_kib, header_bytes;
};
constexpr Mode kModes[] = {{"legacy", srrctl::kLegacy, 2, 0},
                           {"one_buffer", srrctl::kOneBuffer, 2, 0},
                           {"one_buffer_in_pieces", srrctl::kOneBuffer, 1, 0},
                           {"header_split", srrctl::kHeaderSplit, 2, 256},
                           {"header_replication", srrctl::kHeaderReplication, 2, 256},
                           {"replication_large", srrctl::kReplicationLarge, 2, 256},
                           {"split_always", srrctl::kSplitAlways, 2, 256}};

/// Sixty packets of all sizes through a bring-up with one MSI-X vector.
void receive(LinkedHost& h, Watcher& w, const Mode& mode, const Condition& condition) {
  h.bring_up();
  h.write(reg::PSRTYPE(0), ~0u);
  h.rx_ring(0, kRingSize, srrctl::make(mode.packet_kib, mode.type, false, mode.header_bytes),
            dctl::make(8, 4, condition.write_back_threshold));
  h.msix(3, 0x33);
  h.config_write(0, pci::MSIX, pci::MSIX_ENABLE << 16);
  h.write(reg::GPIE, gpie::MULTIPLE_MSIX | gpie::NSICR);
  h.write(reg::IVAR(0), ivar::VALID | 3);
  h.write(reg::EIAC, bit(3));
  h.write(reg::EIMS, bit(3));
  h.memory.hold_every = condition.hold_every;
  h.settle_link();
  for (unsigned i = 0; i < 60; ++i) {
    // Bursts of eight, so that packets queue behind each other.
    w.frames.push_back(segment(i % 5 == 0 ? 6 : i * 241 % 1447, i));
    h.send(w.frames.back());
    if (i % 8 == 7) {
      h.cpu.send(tlm::TLM_READ_COMMAND, 0x4000'0000 + 4 * i, 4);
      h.settle_link();
      h.write(reg::EIMS, bit(3));
    }
  }
  h.settle_link();
}

platform::PcieLinkConfig link_of(const Condition& c) {
  platform::PcieLinkConfig link;
  link.root_credits = c.root;
  link.device_credits = c.device;
  return link;
}
platform::RootPortConfig port_of(const Condition& c) {
  platform::RootPortConfig port;
  port.upstream_buffer = c.upstream_buffer;
  return port;
}

void PrintTo(const Mode& m, std::ostream* out) { *out << m.name; }
void PrintTo(const Condition& c, std::ostream* out) { *out << c.name; }

class Order : public testing::TestWithParam<std::tuple<Mode, Condition>> {};
INSTANTIATE_TEST_SUITE_P(Link, Order,
                         testing::Combine(testing::ValuesIn(kModes), testing::ValuesIn(kConditions)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param).name) + "_" +
                                  std::get<1>(info.param).name;
                         });

TEST_P(Order, PayloadThenWriteBackThenMsix) {
  const auto& [mode, condition] = GetParam();
  LinkedHost h("h", link_of(condition), port_of(condition));
  Watcher w(h, mode.type);
  receive(h, w, mode, condition);
  EXPECT_EQ(w.packets, 60u);
  EXPECT_GE(w.messages, 8u);
  EXPECT_TRUE(w.all_arrived());
  EXPECT_TRUE(w.message_last);
  EXPECT_EQ(w.out_of_order, 0u);
  EXPECT_EQ(w.payload_missing, 0u);
  EXPECT_EQ(w.write_back_missing, 0u);
  EXPECT_EQ(h.cpu.answers.size(), 7u);
}

// The watcher sees what it is there for: a link that lets something pass a posted write.
TEST(Order, APayloadThatIsOvertakenIsNoticed) {
  LinkedHost h("h", link_of(kConditions[0]), port_of(kConditions[0]));
  Watcher w(h, srrctl::kOneBuffer);
  unsigned n = 0;
  w.tamper = [&](tlm::tlm_generic_payload& p) {
    const bool payload = p.get_address() >= nic_test::kBuffers;
    return payload && ++n % 40 == 0
               ? platform::TlpVerdict{platform::TlpVerdict::What::kDelay, sim::kMicrosecond}
               : platform::TlpVerdict{};
  };
  receive(h, w, kModes[1], kConditions[0]);
  EXPECT_GT(w.out_of_order, 0u);
  EXPECT_GT(w.payload_missing, 0u);
}

TEST(Order, AWriteBackThatIsOvertakenByItsMessageIsNoticed) {
  LinkedHost h("h", link_of(kConditions[0]), port_of(kConditions[0]));
  Watcher w(h, srrctl::kOneBuffer);
  unsigned n = 0;
  w.tamper = [&](tlm::tlm_generic_payload& p) {
    const bool ring = p.get_address() >= Host::ring_of(0) && p.get_address() < nic_test::kBuffers;
    return ring && ++n % 8 == 0 ? platform::TlpVerdict{platform::TlpVerdict::What::kDelay, sim::kMicrosecond}
                                : platform::TlpVerdict{};
  };
  receive(h, w, kModes[1], kConditions[0]);
  EXPECT_GT(w.write_back_missing, 0u);
}

// PCI Express base specification, 6.2: what did not come in time is no Unsupported Request.
TEST(LostCompletion, OfADescriptorReadIsLoggedAsCompletionTimeout) {
  LinkedHost h("lost_completion", {}, {});
  h.bring_up();
  unsigned lost = 0;
  h.link.set_tlp_fault([&lost](tlm::tlm_generic_payload& p, bool) {
    if (!p.is_read() || lost != 0) return platform::TlpVerdict{};
    ++lost;
    return platform::TlpVerdict{platform::TlpVerdict::What::kLose, 50 * sim::kMicrosecond};
  });
  h.rx_ring(0, 16, srrctl::make(2, srrctl::kOneBuffer, false, 256), dctl::make(8, 4, 1));
  h.run(40 * sim::kMicrosecond);
  EXPECT_EQ(lost, 1u);
  EXPECT_EQ(h.config_read(0, pci::AER + 4), 0u) << "it still waits";
  EXPECT_NE(h.config_read(0, pci::EXP_DEVSTA, 2) & pci::DEVSTA_TRANSACTIONS_PENDING, 0u);
  h.run(20 * sim::kMicrosecond);
  EXPECT_EQ(h.config_read(0, pci::AER + 4), 1u << 14) << "completion timeout, and nothing else";
  EXPECT_EQ(h.config_read(0, pci::EXP_DEVSTA, 2) & 0x2F, 0x02u) << "non-fatal, nothing pending";
  EXPECT_NE(h.read(reg::ICR) & icr::NFER, 0u);
  h.config_write(0, pci::AER + 4, 1u << 14);
  EXPECT_EQ(h.config_read(0, pci::AER + 4), 0u) << "write 1 clears";
}

}  // namespace
