// SPDX-License-Identifier: Apache-2.0
#include "platform/pcap_file.h"

#include <pcap/pcap.h>

#include "sim/error.h"

namespace platform {
namespace {

constexpr unsigned kLargestFrame = 16 * 1024;

struct ClosePcap {
  void operator()(pcap_t* p) const { pcap_close(p); }
};
using Handle = std::unique_ptr<pcap_t, ClosePcap>;

}  // namespace

std::vector<CapturedFrame> read_pcap(const std::string& path) {
  char why[PCAP_ERRBUF_SIZE] = "";
  const Handle file(pcap_open_offline_with_tstamp_precision(path.c_str(), PCAP_TSTAMP_PRECISION_NANO, why));
  // libpcap puts the path before some of its messages.
  const auto text = [&](std::string message) {
    return message.starts_with(path + ": ") ? message.substr(path.size() + 2) : message;
  };
  if (file == nullptr) throw sim::Error(fmt::format("{}: not a capture: {}", path, text(why)));
  if (pcap_datalink(file.get()) != DLT_EN10MB) {
    const char* name = pcap_datalink_val_to_name(pcap_datalink(file.get()));
    throw sim::Error(fmt::format("{}: link type {} is not Ethernet (EN10MB)", path, name != nullptr ? name : "?"));
  }
  std::vector<CapturedFrame> frames;
  std::uint64_t first_ns = 0;
  for (std::size_t record = 1;; ++record) {
    pcap_pkthdr* header = nullptr;
    const unsigned char* data = nullptr;
    const int result = pcap_next_ex(file.get(), &header, &data);
    if (result == PCAP_ERROR_BREAK) return frames;
    const auto refuse = [&](const std::string& reason) {
      throw sim::Error(fmt::format("{}: record {}: {}", path, record, reason));
    };
    if (result != 1) refuse(text(pcap_geterr(file.get())));
    if (header->caplen != header->len) {
      refuse(fmt::format("only {} of {} bytes were captured (snap length)", header->caplen, header->len));
    }
    if (header->len == 0 || header->len > kLargestFrame) {
      refuse(fmt::format("{} bytes are no Ethernet frame (1 to {})", header->len, kLargestFrame));
    }
    // With nanosecond precision tv_usec holds nanoseconds.
    if (header->ts.tv_sec < 0 || header->ts.tv_usec < 0 || header->ts.tv_usec >= 1'000'000'000) {
      refuse("the time stamp is not a time");
    }
    const auto ns = static_cast<std::uint64_t>(header->ts.tv_sec) * 1'000'000'000 +
                    static_cast<std::uint64_t>(header->ts.tv_usec);
    if (frames.empty()) first_ns = ns;
    // A simulation ends after some 18,000 seconds; a stamp before the first one counts as the first.
    constexpr std::uint64_t kLongest = 10'000'000'000'000;
    const std::uint64_t after = ns > first_ns ? ns - first_ns : 0;
    if (after > kLongest) refuse("more than 10,000 s after the first");
    frames.push_back({after * sim::kNanosecond, {data, data + header->caplen}});
  }
}

struct PcapWriter::File {
  Handle pcap{pcap_open_dead_with_tstamp_precision(DLT_EN10MB, 65535, PCAP_TSTAMP_PRECISION_NANO)};
  pcap_dumper_t* dumper = nullptr;
  ~File() {
    if (dumper != nullptr) pcap_dump_close(dumper);
  }
};

PcapWriter::PcapWriter(const std::string& path, nic::NicTracepoints& trace)
    : path_(path), file_(std::make_unique<File>()) {
  file_->dumper = pcap_dump_open(file_->pcap.get(), path.c_str());
  if (file_->dumper == nullptr) throw sim::Error(pcap_geterr(file_->pcap.get()));
  trace.packet_arrived.subscribe([this](const nic::PacketArrived& e) { write(e.frame, e.time); });
  trace.packet_sent.subscribe([this](const nic::PacketSent& e) { write(e.frame, e.time); });
}

PcapWriter::~PcapWriter() = default;

void PcapWriter::write(std::span<const std::uint8_t> frame, sim::Tick time) {
  if (file_ == nullptr) return;
  pcap_pkthdr header{};
  const std::uint64_t ns = time / sim::kNanosecond;
  header.ts.tv_sec = static_cast<time_t>(ns / 1'000'000'000);
  header.ts.tv_usec = static_cast<suseconds_t>(ns % 1'000'000'000);
  header.caplen = header.len = static_cast<bpf_u_int32>(frame.size());
  pcap_dump(reinterpret_cast<unsigned char*>(file_->dumper), &header, frame.data());
  ++frames_;
}

void PcapWriter::close() {
  if (file_ == nullptr) return;
  const bool written = pcap_dump_flush(file_->dumper) == 0 && ferror(pcap_dump_file(file_->dumper)) == 0;
  file_.reset();
  if (!written) throw sim::Error(fmt::format("{}: cannot be written", path_));
}

}  // namespace platform
