// SPDX-License-Identifier: Apache-2.0
// The parameters of each room, bound to its config struct. The paths are the fields' own names where they can
// be: what a room's validate() complains about is then found by ParameterSet::check().
#pragma once
#include "iommu/config.h"
#include "kernel/config.h"
#include "mm/buddy_allocator.h"
#include "mm/dram_controller.h"
#include "nic/device/config.h"
#include "platform/imsic.h"
#include "platform/interconnect.h"
#include "platform/parameters.h"
#include "platform/pcie_tlp.h"
#include "platform/root_port.h"
#include "sim/simulation.h"

namespace platform {

void register_simulation(ParameterSet& set, sim::SimulationConfig& config);  ///< simulation.*
void register_dram(ParameterSet& set, mm::DramConfig& config);               ///< dram.*
void register_buddy(ParameterSet& set, mm::BuddyConfig& config);             ///< memory.min_free_pages, ...
void register_iommu(ParameterSet& set, iommu::IommuConfig& config);          ///< iommu.*
void register_kernel(ParameterSet& set, kernel::KernelConfig& config);       ///< kernel.*, kernel.costs.*
void register_nic(ParameterSet& set, nic::NicConfig& config);                ///< nic.*
void register_link(ParameterSet& set, PcieLinkConfig& config);               ///< link.*
void register_root_port(ParameterSet& set, RootPortConfig& config);          ///< root_port.*
void register_interconnect(ParameterSet& set, InterconnectConfig& config);   ///< interconnect.*
void register_imsic(ParameterSet& set, ImsicConfig& config);                 ///< imsic.*

}  // namespace platform
