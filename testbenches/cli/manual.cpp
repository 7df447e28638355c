// SPDX-License-Identifier: Apache-2.0
// poolsim manual man|bash|zsh|fish: the manual page and the shells' completions, from the command tree
// itself, so that they name exactly the options that exist.
#include <CLI/CLI.hpp>

#include "sim/error.h"
#include "testbenches/cli/command.h"

namespace {

std::vector<const CLI::App*> children(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

std::string name_of(const CLI::Option& option) {
  if (option.get_positional()) return option.get_name(true, false);
  std::string name;
  for (const auto& s : option.get_snames()) name += (name.empty() ? "-" : ", -") + s;
  for (const auto& l : option.get_lnames()) name += (name.empty() ? "--" : ", --") + l;
  return name;
}

bool takes_value(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

/// Long options of `app`, with the leading dashes.
std::vector<std::string> long_options(const CLI::App& app) {
  std::vector<std::string> words;
  for (const CLI::Option* o : app.get_options()) {
    for (const auto& l : o->get_lnames()) words.push_back("--" + l);
  }
  return words;
}

// ---- manual page ----

std::string troff(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else if (c == '.' || c == '\'') {
      out += std::string("\\&") + c;
    } else {
      out += c;
    }
  }
  return out;
}

void man_options(const CLI::App& app) {
  for (const CLI::Option* o : app.get_options()) {
    if (o->get_description().empty()) continue;
    fmt::print(".TP\n.B {}", troff(name_of(*o)));
    if (takes_value(*o) && !o->get_positional()) fmt::print(" \\fI{}\\fR", troff(o->get_type_name()));
    fmt::print("\n{}\n", troff(o->get_description()));
  }
}

void man_command(const CLI::App& app, const std::string& path) {
  fmt::print(".SS {}\n{}\n", troff(path), troff(app.get_description()));
  man_options(app);
  for (const CLI::App* child : children(app)) man_command(*child, path + " " + child->get_name());
}

void man(const CLI::App& root) {
  fmt::print(".TH POOLSIM 1 \"\" \"poolsim {}\" \"User Commands\"\n", POOLSIM_VERSION);
  fmt::print(".SH NAME\npoolsim \\- {}\n", troff(root.get_description()));
  fmt::print(".SH SYNOPSIS\n.B poolsim\n\\fISUBCOMMAND\\fR [\\fIOPTION\\fR...]\n.SH OPTIONS\n");
  man_options(root);
  fmt::print(".SH SUBCOMMANDS\n");
  for (const CLI::App* child : children(root)) man_command(*child, "poolsim " + child->get_name());
  fmt::print(".SH EXIT STATUS\n{}\n", troff(root.get_footer()));
}

// ---- completions ----

/// Every command with the words that may follow it: subcommands and options.
struct Node {
  std::string path;  ///< "poolsim conform nic"
  std::vector<std::string> words;
};

void collect(const CLI::App& app, const std::string& path, std::vector<Node>& out) {
  Node node{path, {}};
  for (const CLI::App* child : children(app)) node.words.push_back(child->get_name());
  for (auto& word : long_options(app)) node.words.push_back(std::move(word));
  out.push_back(std::move(node));
  for (const CLI::App* child : children(app)) collect(*child, path + " " + child->get_name(), out);
}

std::vector<Node> nodes(const CLI::App& root) {
  std::vector<Node> all;
  collect(root, "poolsim", all);
  return all;
}

void bash(const CLI::App& root) {
  fmt::print(R"(# bash completion of poolsim
_poolsim() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} path=poolsim words= word
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$path $word" in
)");
  const auto all = nodes(root);
  std::string paths;
  for (std::size_t i = 1; i < all.size(); ++i)
    paths += (paths.empty() ? "" : "|") + ("\"" + all[i].path + "\"");
  fmt::print("      {}) path=\"$path $word\" ;;\n    esac\n  done\n  case $path in\n", paths);
  for (const Node& n : all) fmt::print("    \"{}\") words=\"{}\" ;;\n", n.path, fmt::join(n.words, " "));
  fmt::print(R"(  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  [ ${{#COMPREPLY[@]}} -eq 0 ] && COMPREPLY=($(compgen -f -- "$cur"))
}}
complete -o filenames -F _poolsim poolsim
)");
}

void zsh(const CLI::App& root) {
  fmt::print(
      "#compdef poolsim\nlocal path_=poolsim word\nfor word in ${{words[2,CURRENT-1]}}; do\n"
      "  case \"$path_ $word\" in\n");
  const auto all = nodes(root);
  for (std::size_t i = 1; i < all.size(); ++i)
    fmt::print("    (\"{}\") path_=\"$path_ $word\" ;;\n", all[i].path);
  fmt::print("  esac\ndone\ncase $path_ in\n");
  for (const Node& n : all) fmt::print("  (\"{}\") compadd -- {} ;;\n", n.path, fmt::join(n.words, " "));
  fmt::print("esac\n_files\n");
}

void fish(const CLI::App& root) {
  fmt::print("# fish completion of poolsim\n");
  const auto quote = [](std::string text) {
    for (std::size_t at = 0; (at = text.find_first_of("'\\", at)) != std::string::npos; at += 2)
      text.insert(at, "\\");
    return text;
  };
  for (const CLI::App* child : children(root)) {
    fmt::print("complete -c poolsim -n __fish_use_subcommand -a {} -d '{}'\n", child->get_name(),
               quote(child->get_description()));
    for (const CLI::Option* o : child->get_options()) {
      for (const auto& l : o->get_lnames()) {
        fmt::print("complete -c poolsim -n '__fish_seen_subcommand_from {}' -l {}{} -d '{}'\n",
                   child->get_name(), l, takes_value(*o) ? " -r" : "", quote(o->get_description()));
      }
    }
    for (const CLI::App* grandchild : children(*child)) {
      fmt::print("complete -c poolsim -n '__fish_seen_subcommand_from {}' -a {} -d '{}'\n", child->get_name(),
                 grandchild->get_name(), quote(grandchild->get_description()));
    }
  }
}

int manual(const CLI::App& root, const std::string& kind) {
  const std::vector<std::pair<std::string, void (*)(const CLI::App&)>> kinds = {
      {"man", man}, {"bash", bash}, {"zsh", zsh}, {"fish", fish}};
  std::vector<std::string> names;
  for (const auto& [name, print] : kinds) {
    names.push_back(name);
    if (name != kind) continue;
    print(root);
    return cli::kOk;
  }
  throw sim::Error(fmt::format("unknown kind '{}'{}", kind, sim::suggestion(kind, names)));
}

const cli::Subcommand kManual("manual", "The manual page, or the completion of a shell",
                              [](CLI::App& app, const cli::Context&) {
                                auto kind = std::make_shared<std::string>();
                                app.add_option("kind", *kind, "man, bash, zsh or fish")->required();
                                return [kind, &app] { return manual(*app.get_parent(), *kind); };
                              });

}  // namespace
