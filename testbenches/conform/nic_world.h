// SPDX-License-Identifier: Apache-2.0
// The small world of a nic script: one 82576, memory, and in `world iommu` a RISC-V IOMMU between them.
#pragma once
#include <memory>
#include <string>

#include "mm/sparse_store.h"
#include "nic/device/nic.h"
#include "sim/simulation.h"
#include "testbenches/conform/bench_ports.h"
#include "testbenches/conform/memory_target.h"
#include "testbenches/conform/nic_script.h"

namespace conform {

/// Between the NIC and memory, if anything.
class Translation {
 public:
  virtual ~Translation() = default;
  virtual bool idle() const = 0;
  virtual std::uint64_t read(std::uint32_t offset, unsigned bytes) = 0;
  virtual void write(std::uint32_t offset, unsigned bytes, std::uint64_t value) = 0;
};

class NicWorld {
 public:
  explicit NicWorld(bool with_iommu);
  ~NicWorld();

  /// Runs all ops; the answer file.
  std::string run(const NicScript& script);

 private:
  void answer(std::size_t number, std::string_view text);
  void execute(const NicScriptOp& op, std::size_t number);
  void settle();
  void setup(int function);
  void linkup(std::size_t number);
  void set_vfs(unsigned n);
  std::uint32_t config_read(int function, std::uint32_t offset, unsigned bytes);
  void config_write(int function, std::uint32_t offset, unsigned bytes, std::uint32_t value);
  std::uint64_t bar(const NicScriptOp& op) const;
  std::uint32_t csr_read(std::uint64_t address);
  void csr_write(std::uint64_t address, std::uint32_t value);
  std::vector<std::uint8_t> memory(std::uint64_t address, std::uint64_t bytes) const;
  void store(std::uint64_t address, std::span<const std::uint8_t> bytes);
  std::string interrupts();
  std::string rx_descriptor(const NicScriptOp& op) const;
  std::string faults();

  std::string out_;
  sim::Simulation sim_;
  mm::SparseStore store_;
  nic::Nic nic_;
  MemoryTarget memory_;
  Requester config_{"config_port", sim_}, mmio_{"mmio_port", sim_}, wire_{"wire_port", sim_};
  WireSink sink_{"sink"};
  std::unique_ptr<Translation> translation_;
  std::uint64_t doorbells_;
};

}  // namespace conform
