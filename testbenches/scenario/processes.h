// SPDX-License-Identifier: Apache-2.0
// Work in processes of their own (SystemC elaborates once a process): each sends one text back through a
// pipe.
#pragma once
#include <functional>
#include <string>
#include <vector>

namespace scenario {

struct ProcessTask {
  std::string name;                                ///< for messages: "stock, unbind_short.yaml"
  std::function<std::string()> work;               ///< in the child; what it throws is the error's text
  std::function<void(const std::string&)> done;    ///< in the parent, with what work() returned
  std::function<void(const std::string&)> failed;  ///< in the parent: why there is no result
};

/// Called when a task has ended: so many of so many have.
using Progress = std::function<void(std::size_t ended, std::size_t all)>;

/// Runs the tasks, up to `at_a_time` together, in their order; done() and failed() come in the order of their
/// ends. When `*stop` becomes true (a signal handler), what runs is ended and what has not begun is left.
/// True if all ran. Calling context: before any SystemC module exists.
bool run_processes(std::vector<ProcessTask>& tasks, unsigned at_a_time, const Progress& progress = {},
                   const volatile bool* stop = nullptr);

/// `work` in a process of its own; what it returns. What it throws is thrown here again: a sim::Error as
/// such, anything else, and the death of the process, as a sim::ModelError.
std::string in_process(const std::function<std::string()>& work);

}  // namespace scenario
