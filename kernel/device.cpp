// SPDX-License-Identifier: Apache-2.0
#include "kernel/device.h"

#include "kernel/kernel.h"

namespace kernel {
namespace {

constexpr auto kNoteBound = sim::digest_tag("kernel.driver_bound");
constexpr auto kNoteUnbound = sim::digest_tag("kernel.driver_unbound");
constexpr auto kNoteDeviceAdd = sim::digest_tag("kernel.device_add");
constexpr auto kNoteDeviceDel = sim::digest_tag("kernel.device_del");
constexpr int kEbusy = -16, kEnodev = -19;

// What the driver core does around the driver's own functions, in cycles (sysfs, locks, notifiers).
constexpr Cycle kDriverCoreStep = 2000;

DomainType domain_type(DmaMode mode) {
  switch (mode) {
    case DmaMode::kPassthrough:
    case DmaMode::kSwiotlb:
      return DomainType::kIdentity;
    case DmaMode::kLazy:
      return DomainType::kDmaFq;
    default:
      return DomainType::kDma;
  }
}

}  // namespace

void Device::put_device() {
  POOLSIM_ASSERT(refs_ > 0);
  if (--refs_ != 0) return;
  auto& trace = kernel_.trace().device_freed;
  if (trace.enabled()) trace.emit({this, kernel_.now()});
}

Device& DeviceCore::device_add(std::string name, sim::RequesterId requester) {
  return device_add(std::move(name), requester, kernel_.config().dma_mode);
}

Device& DeviceCore::device_add(std::string name, sim::RequesterId requester, DmaMode mode) {
  KFUNC("device_add");
  if (find(name) != nullptr) throw sim::Error(fmt::format("device {} exists already", name));
  this_cpu().work(kDriverCoreStep);
  this_cpu().sync();
  devices_.push_back(std::make_unique<Device>(kernel_, std::move(name), requester));
  Device& device = *devices_.back();
  device.mode_ = mode;
  device.dma_mask = kernel_.config().dma_mask;
  device.present_ = true;
  kernel_.simulation().note(kNoteDeviceAdd, requester.value, static_cast<std::uint64_t>(mode));
  if (mode != DmaMode::kDirect) attach(device);
  if (mode == DmaMode::kSwiotlb) kernel_.dma().need_swiotlb();
  auto& trace = kernel_.trace().device_added;
  if (trace.enabled()) trace.emit({&device, kernel_.now()});
  return device;
}

// iommu_probe_device: a group of its own and a default domain.
void DeviceCore::attach(Device& device) {
  KFUNC("iommu_probe_device");
  groups_.push_back(std::make_unique<IommuGroup>());
  IommuGroup& group = *groups_.back();
  group.id = static_cast<std::uint32_t>(groups_.size());
  group.default_domain = &kernel_.iommu().domain_alloc(domain_type(device.mode_));
  kernel_.iommu().attach(device, *group.default_domain);
  device.group_ = &group;
}

int DeviceCore::device_bind(Device& device, Driver& driver) {
  KFUNC("really_probe");
  if (!device.present_) return kEnodev;
  if (device.driver_ != nullptr) return kEbusy;
  this_cpu().work(kDriverCoreStep);
  if (device.group_ != nullptr && device.was_bound_ && kernel_.config().replace_domain_on_rebind) {
    IommuDomain& old = *device.group_->default_domain;
    kernel_.iommu().detach(device);
    device.msi_pages_.clear();
    device.group_->default_domain = &kernel_.iommu().domain_alloc(old.type());
    kernel_.iommu().attach(device, *device.group_->default_domain);
    kernel_.iommu().domain_free(old);
  }
  // dma_configure: an identity domain means dma-direct.
  const bool paging =
      device.group_ != nullptr && device.group_->default_domain->type() != DomainType::kIdentity;
  device.dma_ops_ = paging ? DmaOps::kIommu : DmaOps::kDirect;
  device.driver_ = &driver;
  this_cpu().sync();
  if (auto& t = kernel_.trace().device_binding; t.enabled()) t.emit({&device, kernel_.now()});
  const int error = driver.probe(device);
  if (error != 0) {
    release_devres(device);
    device.driver_ = nullptr;
    device.driver_data = nullptr;
    return error;
  }
  device.was_bound_ = true;
  this_cpu().sync();
  kernel_.simulation().note(kNoteBound, device.requester_.value);
  auto& trace = kernel_.trace().device_bound;
  if (trace.enabled()) trace.emit({&device, kernel_.now()});
  return 0;
}

void DeviceCore::release_devres(Device& device) {
  KFUNC("devres_release_all");
  while (!device.devres_.empty()) {
    auto action = std::move(device.devres_.back());
    device.devres_.pop_back();
    action();
  }
}

void DeviceCore::device_unbind(Device& device) {
  KFUNC("device_release_driver_internal");
  Context& cpu = this_cpu();
  if (device.driver_ == nullptr) return;
  cpu.work(kDriverCoreStep);
  cpu.sync();
  const Cycle begin = cpu.now_cycles();
  if (auto& t = kernel_.trace().device_unbinding; t.enabled()) t.emit({&device, kernel_.now()});
  device.driver_->remove(device);
  {
    KFUNC("device_unbind_cleanup");
    release_devres(device);
    kernel_.dma().clean_up(device);
    cpu.point("device_unbind", reinterpret_cast<std::uintptr_t>(&device), true);
    if (kernel_.config().clear_dma_ops_on_unbind) device.dma_ops_ = DmaOps::kDirect;
    device.driver_ = nullptr;
    device.driver_data = nullptr;
  }
  kernel_.dma().debug().driver_unbound(device);
  cpu.work(kDriverCoreStep);
  cpu.sync();
  kernel_.simulation().note(kNoteUnbound, device.requester_.value);
  auto& trace = kernel_.trace().device_unbound;
  if (trace.enabled()) trace.emit({&device, kernel_.now(), cpu.now_cycles() - begin});
}

void DeviceCore::device_del(Device& device) {
  KFUNC("device_del");
  if (!device.present_) return;
  device_unbind(device);
  this_cpu().work(kDriverCoreStep);
  if (device.group_ != nullptr) {
    KFUNC("iommu_release_device");
    IommuDomain& domain = *device.group_->default_domain;
    this_cpu().point("iommu_release_device", reinterpret_cast<std::uintptr_t>(&device), true);
    kernel_.iommu().detach(device);
    device.group_->default_domain = nullptr;
    device.group_ = nullptr;
    if (kernel_.config().clear_dma_ops_on_release) device.dma_ops_ = DmaOps::kDirect;
    kernel_.iommu().domain_free(domain);
  }
  this_cpu().sync();
  device.present_ = false;
  kernel_.simulation().note(kNoteDeviceDel, device.requester_.value);
  auto& trace = kernel_.trace().device_removed;
  if (trace.enabled()) trace.emit({&device, kernel_.now()});
  device.put_device();
}

Device* DeviceCore::find(std::string_view name) const {
  for (const auto& device : devices_) {
    if (device->present() && device->name() == name) return device.get();
  }
  return nullptr;
}

}  // namespace kernel
