// SPDX-License-Identifier: Apache-2.0
#include "kernel/irq.h"

#include "kernel/kernel.h"

namespace kernel {

InterruptController::InterruptController(Kernel& kernel)
    : kernel_(kernel), table_(std::size_t{kernel.config().cores} * kIdentities) {}

void InterruptController::request_irq(unsigned cpu, unsigned vector, std::string name, Handler handler) {
  POOLSIM_ASSERT(cpu < kernel_.config().cores && vector > 0 && vector < kIdentities);
  Entry& e = entry(cpu, vector);
  e = {std::move(name), std::move(handler), true};
}

void InterruptController::free_irq(unsigned cpu, unsigned vector) { entry(cpu, vector) = Entry{}; }

unsigned InterruptController::allocate_vector(unsigned cpu) {
  for (unsigned vector = 1; vector < kIdentities; ++vector) {
    if (!entry(cpu, vector).taken) {
      entry(cpu, vector).taken = true;
      return vector;
    }
  }
  throw sim::Error(fmt::format("kernel: core {} has no interrupt identity left", cpu));
}

MsiMessage InterruptController::request_msi(Device& device, unsigned cpu, std::string name, Handler handler) {
  const unsigned vector = allocate_vector(cpu);
  request_irq(cpu, vector, std::move(name), std::move(handler));
  return {kernel_.dma().map_msi_page(device, file_address(cpu)), vector};
}

void InterruptController::raise(unsigned cpu, unsigned vector, Tick arrival) {
  if (cpu >= kernel_.cores() || vector == kNoVector || vector >= kIdentities) {
    ++spurious_;
    return;
  }
  kernel_.core(cpu).raise_interrupt(vector, arrival);
}

PhysAddr InterruptController::file_address(unsigned cpu) const {
  return kernel_.config().imsic_base + cpu * kernel_.config().imsic_stride;
}

}  // namespace kernel
