// SPDX-License-Identifier: Apache-2.0
// Packet captures (libpcap format): frames to send to the NIC, and what it received and sent. Read: microsecond and
// nanosecond files of both byte orders, Ethernet only. Written: nanosecond files, Ethernet, simulated time.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "nic/device/trace.h"
#include "platform/wire.h"

namespace platform {

/// All frames of `path`, times relative to the first. Throws sim::Error naming file and record for what is truncated,
/// malformed, not Ethernet, empty or longer than 16 KiB.
std::vector<CapturedFrame> read_pcap(const std::string& path);

/// Writes every frame that arrives at the NIC or leaves it, in the order in which that happens, with the time (arrived
/// completely; first bit sent). Throws sim::Error if the file cannot be written.
class PcapWriter {
 public:
  PcapWriter(const std::string& path, nic::NicTracepoints& trace);
  ~PcapWriter();
  PcapWriter(const PcapWriter&) = delete;
  PcapWriter& operator=(const PcapWriter&) = delete;

  std::uint64_t frames() const { return frames_; }
  /// Flushes and closes; throws sim::Error if the disk was full. The destructor closes without a word.
  void close();

 private:
  void write(std::span<const std::uint8_t> frame, sim::Tick time);
  struct File;
  std::string path_;
  std::unique_ptr<File> file_;
  std::uint64_t frames_ = 0;
};

}  // namespace platform
