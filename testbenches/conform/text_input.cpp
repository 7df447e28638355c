// SPDX-License-Identifier: Apache-2.0
#include "testbenches/conform/text_input.h"

#include <lzma.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <vector>

#include "sim/error.h"

namespace conform {
namespace {

std::string unpack_xz(const std::string& path, const std::string& packed) {
  lzma_stream stream = LZMA_STREAM_INIT;
  if (lzma_stream_decoder(&stream, UINT64_MAX, LZMA_CONCATENATED) != LZMA_OK) {
    throw sim::Error(path, 0, "cannot start the xz decoder");
  }
  stream.next_in = reinterpret_cast<const std::uint8_t*>(packed.data());
  stream.avail_in = packed.size();
  std::string text;
  std::vector<std::uint8_t> block(1 << 20);
  lzma_ret result = LZMA_OK;
  while (result == LZMA_OK) {
    stream.next_out = block.data();
    stream.avail_out = block.size();
    result = lzma_code(&stream, LZMA_FINISH);
    text.append(reinterpret_cast<const char*>(block.data()), block.size() - stream.avail_out);
  }
  lzma_end(&stream);
  if (result != LZMA_STREAM_END) throw sim::Error(path, 0, "not a complete .xz file");
  return text;
}

}  // namespace

std::string read_text(const std::string& path) {
  if (path == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  std::ifstream file(path, std::ios::binary);
  if (!file) throw sim::Error(path, 0, "cannot be read");
  std::string text{std::istreambuf_iterator<char>(file), {}};
  const bool xz = text.size() >= 6 && text.compare(0, 6,
                                                   "\xfd"
                                                   "7zXZ\0",
                                                   6) == 0;
  return xz ? unpack_xz(path, text) : text;
}

}  // namespace conform
