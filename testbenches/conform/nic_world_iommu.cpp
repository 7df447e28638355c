// SPDX-License-Identifier: Apache-2.0
// `world iommu`: iommu::Iommu between the NIC and memory.
#include "iommu/iommu.h"
#include "testbenches/conform/nic_world.h"

namespace conform {
namespace {

iommu::IommuConfig iommu_config() {
  iommu::IommuConfig c;
  return c;
}

class IommuTranslation final : public Translation {
 public:
  IommuTranslation(sim::Simulation& sim, nic::Nic& nic, MemoryTarget& memory, mm::SparseStore& store)
      : sim_(sim), iommu_("iommu", sim, iommu_config()), tables_("tables", sim, store, 20) {
    nic.dma.bind(iommu_.device);
    iommu_.downstream.bind(memory.port);
    iommu_.walker.bind(tables_.port);
    port_.out.bind(iommu_.registers);
  }
  bool idle() const override { return iommu_.idle() && tables_.idle(); }
  std::uint64_t read(std::uint32_t offset, unsigned bytes) override {
    std::uint64_t value = 0;
    port_.access(sim_.payloads(), false, offset, &value, bytes);
    return value;
  }
  void write(std::uint32_t offset, unsigned bytes, std::uint64_t value) override {
    port_.access(sim_.payloads(), true, offset, &value, bytes);
  }

 private:
  sim::Simulation& sim_;
  iommu::Iommu iommu_;
  MemoryTarget tables_;
  Requester port_{"iommu_port"};
};

}  // namespace

std::unique_ptr<Translation> make_iommu_translation(sim::Simulation& sim, nic::Nic& nic, MemoryTarget& memory,
                                                    mm::SparseStore& store) {
  return std::make_unique<IommuTranslation>(sim, nic, memory, store);
}

}  // namespace conform
