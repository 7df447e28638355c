// SPDX-License-Identifier: Apache-2.0
// The `poolsim` command: how a subcommand registers itself, what it may use, and what it returns.
//
// One file a subcommand (cli/run.cpp, cli/list.cpp, ...), each with a static cli::Subcommand; no other file
// knows them. Results go to stdout, logs and progress (spdlog) to stderr. Bad input is a sim::Error: one
// line, exit code 2.
#pragma once
#include <functional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace cli {

enum ExitCode : int {
  kOk = 0,
  kFindings = 1,         ///< the checker found something, a comparison or replay disagrees
  kUsage = 2,            ///< the command line, a file or a configuration is wrong
  kInconclusive = 3,     ///< budget used up before an answer
  kNotReproducible = 4,  ///< made by another build or configuration
  kInternal = 70,        ///< the model broke one of its own laws
  kInterrupted = 130
};

/// What is common to all subcommands.
struct Context {
  bool json = false;      ///< --json: one JSON document on stdout instead of text
  bool terminal = false;  ///< stdout is a terminal that wants colour
};

/// Adds options to the subcommand's parser and returns what to do when it was chosen.
using Setup = std::function<std::function<int()>(CLI::App& app, const Context& context)>;

struct Subcommand {
  /// To be a static object: the command line is built from what exists.
  Subcommand(std::string name, std::string summary, Setup setup);
  std::string name, summary;
  Setup setup;
};

/// A kind of thing that `poolsim list KIND` prints: rows under the columns' names.
struct Listing {
  using Rows = std::vector<std::vector<std::string>>;
  Listing(std::string kind, std::vector<std::string> columns, std::function<Rows()> rows);
  std::string kind;
  std::vector<std::string> columns;
  std::function<Rows()> rows;
};
/// All listings, by name.
const std::vector<Listing>& listings();

/// A model that `poolsim conform NAME` runs test vectors through. The same shape as a subcommand, one level
/// down.
struct Conformance {
  Conformance(std::string name, std::string summary, Setup setup);
  std::string name, summary;
  Setup setup;
};
const std::vector<Conformance>& conformances();

/// The whole command. Never throws; calling context: inside sc_main.
int run_command(int argc, const char* const* argv);

}  // namespace cli
