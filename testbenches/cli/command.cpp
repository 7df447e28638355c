// SPDX-License-Identifier: Apache-2.0
#include "testbenches/cli/command.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "sim/error.h"

#ifndef POOLSIM_VERSION
#define POOLSIM_VERSION "unversioned"
#endif

namespace cli {
namespace {

std::vector<Subcommand>& subcommands() {
  static std::vector<Subcommand> all;
  return all;
}
std::vector<Listing>& mutable_listings() {
  static std::vector<Listing> all;
  return all;
}
std::vector<Conformance>& mutable_conformances() {
  static std::vector<Conformance> all;
  return all;
}
template <class T, class Key>
void insert_sorted(std::vector<T>& all, const T& one, Key key) {
  all.insert(std::ranges::lower_bound(all, std::invoke(key, one), {}, key), one);
}

int complain(std::string_view who, std::string_view what) {
  fmt::print(stderr, "{}: {}\n", who, what);
  return kUsage;
}

/// What CLI11 says about a wrong command line, made one line with the nearest right word.
int usage_error(CLI::App& app, const CLI::ParseError& error) {
  CLI::App* chosen = &app;
  std::string who = app.get_name();
  for (auto parsed = app.get_subcommands(); !parsed.empty(); parsed = chosen->get_subcommands()) {
    chosen = parsed.front();
    who += " " + chosen->get_name();
  }
  const std::vector<std::string> extras = app.remaining(true);
  for (const std::string& word : extras) {
    if (word.size() < 2 || word[0] != '-') continue;
    std::vector<std::string> names;
    for (const CLI::Option* o : chosen->get_options()) {
      for (const auto& n : o->get_lnames()) names.push_back("--" + n);
    }
    const std::string bare = word.substr(0, word.find('='));
    return complain(who, fmt::format("unknown option '{}'{}", bare, sim::suggestion(bare, names)));
  }
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    const std::string word = extras.empty() ? "" : extras.front();
    std::vector<std::string> names;
    for (const CLI::App* s : chosen->get_subcommands([](const CLI::App*) { return true; })) {
      names.push_back(s->get_name());
    }
    if (!names.empty()) {
      return complain(who, fmt::format("unknown subcommand '{}'{}", word, sim::suggestion(word, names)));
    }
    return complain(who, fmt::format("unexpected argument '{}' (see {} -h)", word, who));
  }
  std::string what = error.what();
  std::ranges::replace(what, '\n', ' ');
  return complain(who, fmt::format("{} (see {} -h)", what, who));
}

}  // namespace

Subcommand::Subcommand(std::string n, std::string s, Setup f)
    : name(std::move(n)), summary(std::move(s)), setup(std::move(f)) {
  insert_sorted(subcommands(), *this, &Subcommand::name);
}

Listing::Listing(std::string k, std::vector<std::string> c, std::function<Rows()> r)
    : kind(std::move(k)), columns(std::move(c)), rows(std::move(r)) {
  insert_sorted(mutable_listings(), *this, &Listing::kind);
}

const std::vector<Listing>& listings() { return mutable_listings(); }

Conformance::Conformance(std::string n, std::string s, Setup f)
    : name(std::move(n)), summary(std::move(s)), setup(std::move(f)) {
  insert_sorted(mutable_conformances(), *this, &Conformance::name);
}

const std::vector<Conformance>& conformances() { return mutable_conformances(); }

int run_command(int argc, const char* const* argv) {
  // Synchronous: the process may be forked, and a crash must not lose what was said before it.
  auto log =
      std::make_shared<spdlog::logger>("poolsim", std::make_shared<spdlog::sinks::stderr_color_sink_st>());
  log->set_pattern("%^%l%$: %v");
  log->set_level(spdlog::level::warn);
  spdlog::set_default_logger(log);

  CLI::App app("A cycle-level machine in which a driver is unbound while its packets are still outstanding.",
               "poolsim");
  app.set_version_flag("--version", std::string("poolsim ") + POOLSIM_VERSION);
  app.footer(
      "Exit codes: 0 ok, 1 findings, 2 usage or configuration, 3 inconclusive, 4 not reproducible here,\n"
      "70 internal, 130 interrupted. `poolsim SUBCOMMAND -h` tells more.");
  app.allow_extras();
  app.require_subcommand(0, 1);
  Context context;
  context.terminal = ::isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
  int verbosity = 0;
  app.add_flag("--json", context.json, "Print one JSON document");
  app.add_flag("-v,--verbose", verbosity, "Say more on stderr (twice: everything)");
  std::vector<std::pair<CLI::App*, std::function<int()>>> actions;
  for (const Subcommand& s : subcommands()) {
    CLI::App* sub = app.add_subcommand(s.name, s.summary);
    actions.emplace_back(sub, s.setup(*sub, context));
    std::vector<CLI::App*> levels = sub->get_subcommands([](CLI::App*) { return true; });
    for (levels.push_back(sub); !levels.empty(); levels.pop_back()) {
      levels.back()->add_flag("--json", context.json, "Print one JSON document");
      levels.back()->add_flag("-v,--verbose", verbosity, "Say more on stderr (twice: everything)");
    }
  }
  try {
    app.parse(argc, argv);
    if (!app.remaining(true).empty()) throw CLI::ExtrasError(app.get_name(), app.remaining(true));
  } catch (const CLI::Success& help) {
    app.exit(help);
    return kOk;
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error);
  }
  log->set_level(verbosity == 0   ? spdlog::level::warn
                 : verbosity == 1 ? spdlog::level::info
                                  : spdlog::level::debug);
  for (const auto& [sub, action] : actions) {
    if (!sub->parsed()) continue;
    const std::string who = "poolsim " + sub->get_name();
    try {
      const int code = action();
      std::fflush(stdout);
      return code;
    } catch (const sim::Error& error) {
      std::fflush(stdout);
      return complain(who, error.what());
    } catch (const std::exception& error) {
      std::fflush(stdout);
      complain(who, fmt::format("internal error: {}", error.what()));
      return kInternal;
    }
  }
  fmt::print(stderr, "{}", app.help());
  return kUsage;
}

}  // namespace cli
