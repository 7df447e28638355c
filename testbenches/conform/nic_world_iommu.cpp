// SPDX-License-Identifier: Apache-2.0
// `world iommu`: iommu::Iommu between the NIC and memory.
#include "iommu/iommu.h"
#include "testbenches/conform/nic_world.h"

namespace conform {
namespace {

iommu::IommuConfig iommu_config() {
  iommu::IommuConfig c;
  c.architecture.capabilities |= iommu::cap::kMsiFlat;  // 64-byte device contexts
  return c;
}

class IommuTranslation final : public Translation {
 public:
  IommuTranslation(sim::Simulation& sim, nic::Nic& nic, MemoryTarget& memory, mm::SparseStore& store)
      : iommu_("iommu", sim, iommu_config()), tables_("tables", sim, store, 20), port_("iommu_port", sim) {
    nic.dma.bind(iommu_.device);
    iommu_.downstream.bind(memory.port);
    iommu_.walker.bind(tables_.port);
    port_.out.bind(iommu_.registers);
  }
  bool idle() const override { return iommu_.idle() && tables_.idle(); }
  std::uint64_t read(std::uint32_t offset, unsigned bytes) override {
    std::uint64_t value = 0;
    port_.access(false, offset, &value, bytes);
    return value;
  }
  void write(std::uint32_t offset, unsigned bytes, std::uint64_t value) override {
    port_.access(true, offset, &value, bytes);
  }

 private:
  iommu::Iommu iommu_;
  MemoryTarget tables_;
  Requester port_;
};

}  // namespace

std::unique_ptr<Translation> make_iommu_translation(sim::Simulation& sim, nic::Nic& nic, MemoryTarget& memory,
                                                    mm::SparseStore& store) {
  return std::make_unique<IommuTranslation>(sim, nic, memory, store);
}

}  // namespace conform
