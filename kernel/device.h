// SPDX-License-Identifier: Apache-2.0
// Devices and their life cycle (drivers/base/dd.c, drivers/base/core.c, drivers/iommu/iommu.c; Linux 6.12):
//
//   device_add     iommu_probe_device: IOMMU group and default domain, DMA ops
//   device_bind    driver->probe()
//   device_unbind  driver->remove() -> devres, arch_teardown_dma_ops -> UNBOUND: no driver. The device is
//   still there. device_del     device_unbind if bound, iommu_release_device: group (and its domain) gone.
//   get_device() keeps only
//                  the memory of struct device.
//
// The DMA API may be used only for a device that is bound to a driver. What happens when it is used later is
// in kernel/dma.h.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernel/config.h"
#include "kernel/trace.h"
#include "sim/types.h"

namespace kernel {

class Device;
class IommuDomain;
class Kernel;

/// A driver as the bus sees it.
class Driver {
 public:
  explicit Driver(std::string name) : name_(std::move(name)) {}
  virtual ~Driver() = default;
  /// 0, or a negative errno: then the device stays unbound and devres is released. Task context.
  virtual int probe(Device& device) = 0;
  /// Task context.
  virtual void remove(Device& device) = 0;
  const std::string& name() const { return name_; }

 private:
  std::string name_;
};

/// Devices that the IOMMU cannot tell apart (struct iommu_group). Here one device each, as for PCIe
/// functions.
struct IommuGroup {
  std::uint32_t id;
  IommuDomain* default_domain;
};

enum class DmaOps : std::uint8_t { kDirect, kIommu };

/// struct device of a PCI function. Lives as long as the Kernel; memory_freed() says when the real one would
/// be gone.
class Device {
 public:
  Device(Kernel& kernel, std::string name, sim::RequesterId requester)
      : kernel_(kernel), name_(std::move(name)), requester_(requester) {}
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const std::string& name() const { return name_; }  ///< dev_name, e.g. "0000:01:10.0"
  sim::RequesterId requester() const { return requester_; }
  Driver* driver() const { return driver_; }
  bool bound() const { return driver_ != nullptr; }
  /// device_del has not run.
  bool present() const { return present_; }
  IommuGroup* iommu_group() const { return group_; }
  DmaOps dma_ops() const { return dma_ops_; }
  DmaMode dma_mode() const { return mode_; }
  std::uint64_t dma_mask = ~std::uint64_t{0};

  /// struct device reference count (get_device / put_device). Releasing the last one emits DeviceFreed.
  void get_device() { ++refs_; }
  void put_device();
  unsigned references() const { return refs_; }
  bool memory_freed() const { return refs_ == 0; }

  /// devm_add_action: run in reverse order when the driver is gone (or its probe failed).
  void devm_add_action(std::function<void()> action) { devres_.push_back(std::move(action)); }
  /// dev_set_drvdata
  void* driver_data = nullptr;

 private:
  friend class DeviceCore;
  friend class DmaApi;
  friend class IommuDriver;
  Kernel& kernel_;
  std::string name_;
  sim::RequesterId requester_;
  DmaMode mode_ = DmaMode::kDirect;
  Driver* driver_ = nullptr;
  IommuGroup* group_ = nullptr;
  DmaOps dma_ops_ = DmaOps::kDirect;
  bool present_ = false;
  bool was_bound_ = false;
  bool pci_32bit_workaround_ = true;  // dev->iommu->pci_32bit_workaround
  unsigned refs_ = 1;
  std::vector<std::function<void()>> devres_;
  std::vector<std::pair<PhysAddr, Iova>> msi_pages_;
};

/// Device life cycle of one Kernel. All of it in task context.
class DeviceCore {
 public:
  explicit DeviceCore(Kernel& kernel) : kernel_(kernel) {}

  /// A new device: `mode` decides its default domain; it needs a probed IOMMU unless kDirect.
  Device& device_add(std::string name, sim::RequesterId requester, DmaMode mode);
  /// Same with KernelConfig::dma_mode.
  Device& device_add(std::string name, sim::RequesterId requester);
  /// Result of probe(); -16 (EBUSY) if already bound, -19 (ENODEV) if removed.
  int device_bind(Device& device, Driver& driver);
  /// No effect on an unbound device.
  void device_unbind(Device& device);
  void device_del(Device& device);

  /// Every device ever added, removed ones too.
  const std::vector<std::unique_ptr<Device>>& devices() const { return devices_; }
  /// The present device with this name, or null.
  Device* find(std::string_view name) const;

 private:
  void attach(Device& device);
  void release_devres(Device& device);

  Kernel& kernel_;
  std::vector<std::unique_ptr<Device>> devices_;
  std::vector<std::unique_ptr<IommuGroup>> groups_;
};

}  // namespace kernel
