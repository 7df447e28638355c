// SPDX-License-Identifier: Apache-2.0
// poolsim capture-script: what to run on a real machine, to replay it here.
#include "testbenches/trace/capture_script.h"

#include <sys/utsname.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "testbenches/cli/command.h"

namespace {

const cli::Subcommand kCaptureScript(
    "capture-script", "print the shell script that records a real machine for poolsim replay",
    [](CLI::App& app, const cli::Context& context) {
      auto kernel = std::make_shared<std::string>();
      app.add_option("--kernel", *kernel,
                     "version of the kernel to be recorded, e.g. 6.12.26; else that of this machine");
      return [kernel, &context] {
        if (kernel->empty()) {
          utsname name{};
          if (::uname(&name) == 0) *kernel = name.release;
        }
        const std::string script = trace::capture_script(trace::KernelVersion::parse(*kernel));
        if (context.json) {
          std::printf("%s\n",
                      nlohmann::ordered_json{{"kernel", *kernel}, {"script", script}}.dump(2).c_str());
        } else {
          std::fputs(script.c_str(), stdout);
        }
        return static_cast<int>(cli::kOk);
      };
    });

}  // namespace
