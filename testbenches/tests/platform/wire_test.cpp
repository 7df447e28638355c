// SPDX-License-Identifier: Apache-2.0
#include "platform/wire.h"

#include <gtest/gtest.h>

namespace {

/// Takes every frame and remembers when it began.
struct Sink : sc_core::sc_module, tlm::tlm_fw_transport_if<> {
  Sink(sc_core::sc_module_name name, sim::Timeline& t) : sc_module(name), timeline(t) { socket.bind(*this); }
  tlm::tlm_target_socket<64> socket{"socket"};
  tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& p, tlm::tlm_phase&,
                                     sc_core::sc_time& d) override {
    times.push_back(timeline.incoming(d));
    frames.emplace_back(p.get_data_ptr(), p.get_data_ptr() + p.get_data_length());
    p.set_response_status(tlm::TLM_OK_RESPONSE);
    return tlm::TLM_COMPLETED;
  }
  void b_transport(tlm::tlm_generic_payload&, sc_core::sc_time&) override {}
  bool get_direct_mem_ptr(tlm::tlm_generic_payload&, tlm::tlm_dmi&) override { return false; }
  unsigned transport_dbg(tlm::tlm_generic_payload&) override { return 0; }
  sim::Timeline& timeline;
  std::vector<sim::Tick> times;
  std::vector<std::vector<std::uint8_t>> frames;
};

TEST(WireGenerator, LineRateIsExactAndPayloadsVerify) {
  sim::Simulation s;
  platform::WireGenerator wire("wire", s, 10'000'000'000);
  Sink sink("sink", s.timeline());
  wire.wire.bind(sink.socket);
  const nic::Ipv4Flow flow{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}, 0x0a000002, 0x0a000001, 40000, 9000};
  wire.send({platform::FrameKind::kUdp, flow, 1000, 18, 0, 0});
  wire.send({platform::FrameKind::kFirstFragment, flow, 10, 1472, 0, 0});
  s.timeline().run_until(10 * sim::kMillisecond);
  ASSERT_EQ(sink.frames.size(), 1010u);
  EXPECT_TRUE(wire.idle());
  // 60 + 24 bytes at 10 Gb/s are 67.2 ns; the average of 999 intervals is that to one clock edge.
  const double mean = static_cast<double>(sink.times[999] - sink.times[0]) / 999;
  EXPECT_NEAR(mean, 67.2e6, 8e6 / 999 + 1);
  for (std::size_t i = 0; i < sink.frames.size(); ++i) {
    const auto& f = sink.frames[i];
    const auto p = nic::parse_ipv4(f);
    ASSERT_TRUE(p) << i;
    std::uint64_t sequence = 0;
    EXPECT_TRUE(platform::verify_payload({&f[p->payload_offset + 8], p->payload_bytes - 8}, &sequence));
    EXPECT_EQ(sequence, i);
    EXPECT_EQ(p->id, static_cast<std::uint16_t>(i));
    EXPECT_EQ(p->more_fragments, i >= 1000);
    if (!p->more_fragments) {
      std::uint32_t pseudo = 17 + static_cast<std::uint32_t>(p->payload_bytes);
      for (std::uint32_t a : {flow.src_ip, flow.dst_ip}) pseudo += (a >> 16) + (a & 0xffff);
      EXPECT_EQ(nic::internet_checksum({&f[p->payload_offset], p->payload_bytes}, pseudo), 0);
    }
    auto damaged = f;
    damaged[p->payload_offset + 8 + 17 % (p->payload_bytes - 8)] ^= 1;
    EXPECT_FALSE(
        platform::verify_payload({&damaged[p->payload_offset + 8], p->payload_bytes - 8}, &sequence));
  }
}

}  // namespace
