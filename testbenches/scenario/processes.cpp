// SPDX-License-Identifier: Apache-2.0
#include "testbenches/scenario/processes.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "sim/error.h"

namespace scenario {
namespace {

struct Child {
  pid_t pid;
  int fd;
  ProcessTask* task = nullptr;
  std::string text;  // "=result", "?message" of a sim::Error, or "!message" of another
};

Child launch(const std::function<std::string()>& work) {
  int ends[2];
  if (::pipe(ends) != 0) throw sim::ModelError("pipe() failed");
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) throw sim::ModelError("fork() failed");
  if (pid == 0) {
    ::close(ends[0]);
    std::string text;
    try {
      text = "=" + work();
    } catch (const sim::Error& e) {
      text = std::string("?") + e.what();
    } catch (const std::exception& e) {
      text = std::string("!") + e.what();
    }
    for (std::size_t done = 0; done < text.size();) {
      const ssize_t n = ::write(ends[1], text.data() + done, text.size() - done);
      if (n <= 0) break;
      done += static_cast<std::size_t>(n);
    }
    ::_exit(0);
  }
  ::close(ends[1]);
  return {pid, ends[0], nullptr, {}};
}

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

/// The child has ended or said everything: its text is whole, or says why there is none.
void reap(Child& child) {
  ::close(child.fd);
  const int status = wait_for(child.pid);
  if (WIFSIGNALED(status)) child.text = fmt::format("!ended by signal {}", WTERMSIG(status));
  if (child.text.empty()) child.text = "!said nothing";
}

void finish(Child& child) {
  reap(child);
  (child.text[0] == '=' ? child.task->done : child.task->failed)(child.text.substr(1));
}

/// Reads what there is. False: the child has said everything.
bool read_some(Child& child) {
  char buffer[65536];
  const ssize_t n = ::read(child.fd, buffer, sizeof buffer);
  if (n > 0) child.text.append(buffer, static_cast<std::size_t>(n));
  return n > 0 || (n < 0 && errno == EINTR);
}

}  // namespace

bool run_processes(std::vector<ProcessTask>& tasks, unsigned at_a_time, const Progress& progress,
                   const volatile bool* stop) {
  std::vector<Child> running;
  std::size_t next = 0, ended = 0;
  const auto stopped = [&] { return stop != nullptr && *stop; };
  while (ended < tasks.size() && !stopped()) {
    while (running.size() < std::max(1u, at_a_time) && next < tasks.size()) {
      running.push_back(launch(tasks[next].work));
      running.back().task = &tasks[next++];
    }
    std::vector<pollfd> waiting;
    for (const Child& c : running) waiting.push_back({c.fd, POLLIN, 0});
    if (::poll(waiting.data(), waiting.size(), -1) < 0) continue;  // a signal: look at *stop
    for (std::size_t i = running.size(); i-- > 0;) {
      if ((waiting[i].revents & (POLLIN | POLLHUP | POLLERR)) == 0 || read_some(running[i])) continue;
      finish(running[i]);
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
      if (progress)
        progress(++ended, tasks.size());
      else
        ++ended;
    }
  }
  for (const Child& c : running) {
    ::kill(c.pid, SIGKILL);
    ::close(c.fd);
    wait_for(c.pid);
  }
  return ended == tasks.size();
}

std::string in_process(const std::function<std::string()>& work) {
  Child child = launch(work);
  while (read_some(child)) {
  }
  reap(child);
  const std::string text = child.text.substr(1);
  if (child.text[0] == '?') throw sim::Error(text);
  if (child.text[0] == '!') throw sim::ModelError(text);
  return text;
}

}  // namespace scenario
