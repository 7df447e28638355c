// SPDX-License-Identifier: Apache-2.0
#include "waveforms/fst.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "sim/error.h"

#ifdef POOLSIM_FST
#include <fstapi.h>
#include <zlib.h>

#include <array>

/// In place of compress2(), which fstapi asks for its highest level. Not for the table of times of a long
/// run: that would be a tenth of what FST costs, for a third of the file. fstapi then stores it as it is.
extern "C" int poolsim_fst_compress2(Bytef* to, uLongf* to_bytes, const Bytef* from, uLong bytes, int) {
  constexpr uLong kWorthIt = 64 << 10;
  return bytes > kWorthIt ? Z_BUF_ERROR : compress2(to, to_bytes, from, bytes, 1);
}
#ifdef POOLSIM_FST_BITS
// fst_emit.c
extern "C" void fst_emit_each(void* file, const fst_signal* signals, const fst_change* changes, std::size_t n);
extern "C" void fst_emit_changes(void* file, std::uint64_t time, const fst_signal* signals,
                                 const fst_change* changes, std::size_t n);
#endif
#endif

namespace waveforms {

#ifdef POOLSIM_FST
namespace {

#ifndef POOLSIM_FST_BITS
/// Of each byte, its binary digits.
constexpr auto kDigits = [] {
  std::array<std::array<char, 8>, 256> table{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    for (unsigned bit = 0; bit < 8; ++bit) table[byte][bit] = (byte >> (7 - bit) & 1) != 0 ? '1' : '0';
  }
  return table;
}();
#endif

class FstApiFile final : public FstFile {
 public:
  explicit FstApiFile(const std::string& path)
      : path_(path), file_(fstWriterCreate(path.c_str(), /*compressed=*/1)) {
    if (file_ == nullptr)
      throw sim::Error(path, 0, fmt::format("cannot write the waveform: {}", std::strerror(errno)));
    fstWriterSetPackType(file_, FST_WR_PT_LZ4);
    fstWriterSetTimescale(file_, -15);
    fstWriterSetVersion(file_, "poolsim");
    fstWriterSetDate(file_, "");  // equal runs, equal files
  }
  ~FstApiFile() override {
    if (file_ != nullptr) fstWriterClose(file_);
  }

  void scope(const std::string& name) override {
    fstWriterSetScope(file_, FST_ST_VCD_MODULE, name.c_str(), nullptr);
  }
  void upscope() override { fstWriterSetUpscope(file_); }
  void variable(std::uint32_t number, const std::string& name, unsigned bits,
                const std::vector<std::string>& states) override {
    if (!states.empty()) name_states(name, bits, states);
    if (signals_.size() <= number) signals_.resize(number + 1);
    const fstHandle handle =
        fstWriterCreateVar(file_, FST_VT_VCD_WIRE, FST_VD_IMPLICIT, bits, name.c_str(), 0);
    signals_[number] = {handle, 4 * (handle - 1), bits, (bits + 7) / 8};
  }
  void time(sim::Tick t) override {
    timed_ = true;
    fstWriterEmitTimeChange(file_, t);
  }
  void value(std::uint32_t signal, std::uint64_t value) override {
    const fst_change change{signal, value};
    POOLSIM_ASSERT(timed_);
    emit_each({&change, 1});
  }
  void changes(sim::Tick t, std::span<const fst_change> changes) override {
    timed_ = true;
#ifdef POOLSIM_FST_BITS
    fst_emit_changes(file_, t, signals_.data(), changes.data(), changes.size());
#else
    fstWriterEmitTimeChange(file_, t);
    emit_each(changes);
#endif
  }
  void close() override {
    if (file_ == nullptr) return;
    const bool failed = fstWriterGetFseekFailed(file_) != 0;
    fstWriterClose(file_);
    file_ = nullptr;
    if (failed) throw sim::Error(path_, 0, "cannot write the waveform");
  }
  void abandon() override { file_ = nullptr; }

 private:
  void emit_each(std::span<const fst_change> changes) {
#ifdef POOLSIM_FST_BITS
    fst_emit_each(file_, signals_.data(), changes.data(), changes.size());
#else
    // Eight digits at a time, the highest first; fstWriterEmitValueChange32 makes them one by one.
    for (const fst_change& c : changes) {
      const auto [handle, position, bits, bytes] = signals_[c.signal];
      std::uint64_t rest = c.value << (64 - bits);
      char digits[64];
      for (unsigned at = 0; at < bits; at += 8, rest <<= 8)
        std::memcpy(digits + at, kDigits[rest >> 56].data(), 8);
      fstWriterEmitValueChange(file_, handle, digits);
    }
#endif
  }
  void name_states(const std::string& name, unsigned bits, const std::vector<std::string>& states) {
    std::vector<std::string> values(states.size());
    std::vector<const char*> literals, numbers;
    for (std::size_t i = 0; i < states.size(); ++i) {
      for (unsigned b = bits; b-- > 0;) values[i] += (i >> b & 1) != 0 ? '1' : '0';
      literals.push_back(states[i].c_str());
      numbers.push_back(values[i].c_str());
    }
    const fstEnumHandle table =
        fstWriterCreateEnumTable(file_, name.c_str(), static_cast<std::uint32_t>(states.size()), bits,
                                 literals.data(), numbers.data());
    fstWriterEmitEnumTableRef(file_, table);
  }

  std::string path_;
  void* file_;
  bool timed_ = false;
  std::vector<fst_signal> signals_;
};

}  // namespace

bool FstFile::available() { return true; }
std::unique_ptr<FstFile> FstFile::create(const std::string& path) {
  return std::make_unique<FstApiFile>(path);
}
#else
bool FstFile::available() { return false; }
std::unique_ptr<FstFile> FstFile::create(const std::string& path) {
  throw sim::Error(
      path, 0,
      "this build writes VCD only: it found no fstapi (Debian package verilator); name the file .vcd");
}
#endif

}  // namespace waveforms
