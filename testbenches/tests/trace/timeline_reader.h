// SPDX-License-Identifier: Apache-2.0
// Reads Chrome trace JSON and judges its structure as a viewer would: what nests, where flows begin and end.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

struct Timeline {
  struct Slice {
    std::int64_t begin, end;
    std::string name;
  };
  struct FlowPoint {
    char step;
    std::int64_t at;
    int thread;
  };

  std::map<int, std::string> processes, threads;
  std::map<int, int> process_of;                        // by thread
  std::map<int, std::vector<Slice>> slices;             // by thread, in order of begin, then enclosing first
  std::map<std::string, std::vector<FlowPoint>> flows;  // by id, in order of the file
  std::map<std::string, std::vector<std::pair<std::int64_t, double>>> counters;
  std::map<std::string, std::size_t> instants;  // by name
  std::size_t global_instants = 0;
  std::vector<std::string> errors;

  explicit Timeline(const std::string& path) {
    std::ifstream in(path);
    const auto j = nlohmann::json::parse(in);  // throws where the file is not JSON
    if (j.at("displayTimeUnit") != "ns") errors.push_back("displayTimeUnit is not ns");
    std::map<int, std::vector<Slice>> open;
    std::map<std::string, int> async;
    for (const auto& e : j.at("traceEvents")) event(e, open, async);
    for (const auto& [thread, stack] : open) {
      if (!stack.empty()) errors.push_back("B without E: " + stack.back().name);
    }
    for (const auto& [id, depth] : async) {
      if (depth != 0) errors.push_back("async slice without its end: " + id);
    }
    check_nesting();
    check_flows();
  }

  int thread(const std::string& name) const {
    for (const auto& [id, n] : threads) {
      if (n == name) return id;
    }
    return 0;
  }
  const std::vector<Slice>& on(const std::string& name) const {
    static const std::vector<Slice> none;
    const auto it = slices.find(thread(name));
    return it != slices.end() ? it->second : none;
  }

 private:
  static std::int64_t nanoseconds(const nlohmann::json& microseconds) {
    return std::llround(microseconds.get<double>() * 1000);
  }

  void event(const nlohmann::json& e, std::map<int, std::vector<Slice>>& open,
             std::map<std::string, int>& async) {
    const std::string phase = e.at("ph");
    const int tid = e.value("tid", 0), pid = e.at("pid");
    if (phase == "M") {
      if (e.at("name") == "process_name") processes[pid] = e["args"]["name"];
      if (e.at("name") == "thread_name") {
        if (threads.count(tid) != 0) errors.push_back("thread id used twice");
        threads[tid] = e["args"]["name"];
        process_of[tid] = pid;
      }
      return;
    }
    const std::int64_t ts = nanoseconds(e.at("ts"));
    if (processes.count(pid) == 0) errors.push_back("a process without a name");
    const bool threaded = phase == "X" || phase == "B" || phase == "E" || phase == "s" || phase == "t" ||
                          phase == "f" || (phase == "i" && e.at("s") == "t");
    if (threaded && (threads.count(tid) == 0 || process_of[tid] != pid))
      errors.push_back("an event on no known track");
    if (phase == "X") {
      slices[tid].push_back({ts, ts + nanoseconds(e.at("dur")), e.at("name")});
    } else if (phase == "B") {
      open[tid].push_back({ts, 0, e.at("name")});
    } else if (phase == "E") {
      if (open[tid].empty()) return errors.push_back("E without B");
      Slice s = open[tid].back();
      open[tid].pop_back();
      s.end = ts;
      slices[tid].push_back(s);
    } else if (phase == "s" || phase == "t" || phase == "f") {
      const std::string id = e.at("id");
      if (id.substr(0, 2) != "0x") errors.push_back("flow id is not hexadecimal: " + id);
      if (phase != "s" && e.at("bp") != "e") errors.push_back("flow step not bound to what encloses it");
      flows[id].push_back({phase[0], ts, tid});
    } else if (phase == "i") {
      ++instants[e.at("name")];
      global_instants += e.at("s") == "g";
    } else if (phase == "C") {
      for (const auto& [key, value] : e.at("args").items()) counters[e.at("name")].emplace_back(ts, value);
    } else if (phase == "b" || phase == "e") {
      const std::string id = e.at("id").get<std::string>() + " " + e.at("name").get<std::string>();
      if ((async[id] += phase == "b" ? 1 : -1) < 0) errors.push_back("async end without begin: " + id);
    } else {
      errors.push_back("unknown phase " + phase);
    }
  }

  void check_nesting() {
    for (auto& [tid, all] : slices) {
      std::stable_sort(all.begin(), all.end(), [](const Slice& a, const Slice& b) {
        return a.begin != b.begin ? a.begin < b.begin : a.end > b.end;
      });
      std::vector<const Slice*> stack;
      for (const Slice& s : all) {
        if (s.end < s.begin) errors.push_back("a slice of negative length: " + s.name);
        while (!stack.empty() && stack.back()->end <= s.begin) stack.pop_back();
        if (!stack.empty() && s.end > stack.back()->end) {
          errors.push_back(threads[tid] + ": '" + s.name + "' at " + std::to_string(s.begin) + " overlaps '" +
                           stack.back()->name + "' at " + std::to_string(stack.back()->begin));
        }
        stack.push_back(&s);
      }
    }
  }

  void check_flows() {
    for (auto& [id, points] : flows) {
      std::stable_sort(points.begin(), points.end(),
                       [](const FlowPoint& a, const FlowPoint& b) { return a.at < b.at; });
      for (std::size_t i = 0; i < points.size(); ++i) {
        const char expected = i == 0 ? 's' : i + 1 == points.size() ? 'f' : 't';
        if (points[i].step != expected)
          errors.push_back("flow " + id + ": step " + std::to_string(i) + " is " + points[i].step);
        if (!enclosed(points[i])) {
          errors.push_back("flow " + id + ": no slice of '" + threads[points[i].thread] + "' at " +
                           std::to_string(points[i].at));
        }
      }
      if (points.size() < 2) errors.push_back("flow " + id + " has no end");
    }
  }

  bool enclosed(const FlowPoint& p) const {
    const auto it = slices.find(p.thread);
    if (it == slices.end()) return false;
    auto next = std::upper_bound(it->second.begin(), it->second.end(), p.at,
                                 [](std::int64_t at, const Slice& s) { return at < s.begin; });
    while (next != it->second.begin()) {
      --next;
      if (next->begin <= p.at && p.at <= next->end) return true;
    }
    return false;
  }
};
