// SPDX-License-Identifier: Apache-2.0
#include "platform/statistics.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "sim/error.h"

namespace {

using platform::Statistics;

struct Module {
  double count;
  void stats(const std::function<void(std::string_view, double, std::string_view)>& out) const {
    out("zebra", count, "1");
    out("apple", 0.5, "s");
  }
};

TEST(Statistics, KeepTheirOrderAndUnits) {
  Statistics s;
  s.add("part", Module{7});
  EXPECT_EQ(s.to_json().dump(),
            R"({"part.zebra":{"value":7,"unit":"1"},"part.apple":{"value":0.5,"unit":"s"}})");
  EXPECT_EQ(s.to_csv(), "name,value,unit\npart.zebra,7,1\npart.apple,0.5,s\n");
  ASSERT_NE(s.find("part.apple"), nullptr);
  EXPECT_EQ(s.find("part.apple")->unit, "s");
  EXPECT_EQ(s.find("part.pear"), nullptr);
}

TEST(Statistics, DifferenceOfTwoTimes) {
  Statistics before, after;
  before.add("part", Module{7});
  after.add("part", Module{30});
  EXPECT_EQ(after.since(before).find("part.zebra")->value, 23);
}

TEST(Statistics, TwoOfOneNameBreakTheModel) {
  Statistics s;
  s.add("a", 1, "1");
  EXPECT_THROW(s.add("a", 2, "1"), sim::ModelError);
}

}  // namespace
