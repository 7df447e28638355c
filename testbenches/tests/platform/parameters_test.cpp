// SPDX-License-Identifier: Apache-2.0
// Configuration: quantities, precedence and origin, what is said about wrong input, the schema.
#include "platform/parameters.h"

#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

#include "platform/parameter_tables.h"

namespace {

using platform::Dimension;
using platform::format_quantity;
using platform::ParameterSet;
using platform::parse_quantity;

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const sim::Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Quantity, Units) {
  EXPECT_EQ(parse_quantity("64 KiB", Dimension::kSize), 65536u);
  EXPECT_EQ(parse_quantity("1.5GiB", Dimension::kSize), 3ull << 29);
  EXPECT_EQ(parse_quantity("4096", Dimension::kSize), 4096u);
  EXPECT_EQ(parse_quantity("0x1000", Dimension::kSize), 4096u);
  EXPECT_EQ(parse_quantity("12.3 TB", Dimension::kSize), 12'300'000'000'000u);
  EXPECT_EQ(parse_quantity("10 us", Dimension::kTime), 10 * sim::kMicrosecond);
  EXPECT_EQ(parse_quantity("0.4ns", Dimension::kTime), 400 * sim::kPicosecond);
  EXPECT_EQ(parse_quantity("0", Dimension::kTime), 0u);
  EXPECT_EQ(parse_quantity("2.5 GHz", Dimension::kFrequency), 2'500'000'000u);
  EXPECT_EQ(parse_quantity("25 Gb/s", Dimension::kRate), 25'000'000'000u);
  EXPECT_EQ(parse_quantity("0xff", Dimension::kNone), 255u);
  EXPECT_EQ(parse_quantity("18446744073709551615", Dimension::kNone), ~std::uint64_t{0});
}

TEST(Quantity, WhatIsRefusedAndHow) {
  const auto message = [](const char* text, Dimension d) {
    return error_of([&] { parse_quantity(text, d); });
  };
  EXPECT_EQ(message("ten", Dimension::kNone), "'ten' is not an integer");
  EXPECT_EQ(message("1.5", Dimension::kNone), "'1.5' is not an integer");
  EXPECT_EQ(message("-1", Dimension::kNone), "'-1' is not an integer");
  EXPECT_EQ(message("18446744073709551616", Dimension::kNone), "'18446744073709551616' is too large");
  EXPECT_EQ(message("10", Dimension::kTime), "'10' has no unit (it is a time, e.g. 10 us)");
  EXPECT_EQ(message("10 sec", Dimension::kTime),
            "'10 sec' has an unknown unit 'sec' (one of: fs, ps, ns, us, ms, s, min)");
  EXPECT_EQ(message("0.3 B", Dimension::kSize), "'0.3 B' is not a whole number of B");
  EXPECT_EQ(message("999999999999 TiB", Dimension::kSize), "'999999999999 TiB' is too large");
  EXPECT_EQ(message("", Dimension::kSize), "'' is not a size, e.g. 64 KiB");
  EXPECT_EQ(message("1111111111111111111111111111111111111", Dimension::kSize),
            "'1111111111111111111111111111111111111' has too many digits");
}

TEST(Quantity, WritingAndReadingAgree) {
  EXPECT_EQ(format_quantity(65536, Dimension::kSize), "64 KiB");
  EXPECT_EQ(format_quantity(1500, Dimension::kSize), "1500 B");
  EXPECT_EQ(format_quantity(2'500'000'000, Dimension::kFrequency), "2.5 GHz");
  EXPECT_EQ(format_quantity(125 * sim::kNanosecond, Dimension::kTime), "125 ns");
  EXPECT_EQ(format_quantity(0, Dimension::kTime), "0 fs");
  for (Dimension d :
       {Dimension::kNone, Dimension::kSize, Dimension::kTime, Dimension::kFrequency, Dimension::kRate}) {
    for (std::uint64_t v = 1; v < (1ull << 62); v = v * 3 + 1) {
      EXPECT_EQ(parse_quantity(format_quantity(v, d), d), v);
    }
  }
}

struct Bench {
  platform::PcieLinkConfig link;
  platform::RootPortConfig root_port;
  platform::InterconnectConfig interconnect;
  platform::ImsicConfig imsic;
  iommu::IommuConfig iommu;
  mm::DramConfig dram;
  mm::BuddyConfig buddy;
  kernel::KernelConfig kernel;
  nic::NicConfig nic;
  sim::SimulationConfig simulation;
  ParameterSet set;
  Bench() {
    register_simulation(set, simulation);
    register_dram(set, dram);
    register_buddy(set, buddy);
    register_iommu(set, iommu);
    register_interconnect(set, interconnect);
    register_root_port(set, root_port);
    register_link(set, link);
    register_imsic(set, imsic);
    register_kernel(set, kernel);
    register_nic(set, nic);
    set.leave("scenario");
  }
  std::string load_error(const char* yaml) {
    return error_of([&] { set.load_text(yaml, "m.yaml"); });
  }
};

TEST(Parameters, FileSetsFields) {
  Bench b;
  b.set.load_text(
      "scenario: {anything: [1, 2]}\n"
      "link:\n"
      "  generation: 3\n"
      "  width: 8\n"
      "  max_payload: 256 B\n"
      "  latency: 0.2 us\n"
      "iommu:\n"
      "  clock: 800 MHz\n"
      "  iotlb: {sets: 0x20, replacement: plru}\n"
      "  iotlb_page_sizes: [12, 21]\n"
      "  architecture: {capabilities: {sv57: false}, physical_address_bits: 44}\n"
      "root_port:\n"
      "  ecam_base: 0x50000000\n"
      "nic: {wire_bits_per_second: 25 Gb/s, mac_address: \"02:00:00:00:00:0a\"}\n"
      "memory:\n",
      "m.yaml");
  EXPECT_EQ(b.link.generation, 3u);
  EXPECT_EQ(b.link.max_payload_bytes, 256u);
  EXPECT_EQ(b.link.latency, 200 * sim::kNanosecond);
  EXPECT_EQ(b.iommu.clock, sim::Clock::from_hz(800'000'000));
  EXPECT_EQ(b.iommu.iotlb.sets, 32u);
  EXPECT_EQ(b.iommu.iotlb.replacement, iommu::Replacement::kPlru);
  EXPECT_EQ(b.iommu.iotlb_page_sizes, (std::vector<unsigned>{12, 21}));
  EXPECT_EQ(b.iommu.architecture.capabilities & iommu::cap::kSv57, 0u);
  EXPECT_NE(b.iommu.architecture.capabilities & iommu::cap::kSv48, 0u);
  EXPECT_EQ(b.iommu.architecture.capabilities >> 32 & 0x3f, 44u);
  EXPECT_EQ(b.root_port.ecam.base, 0x5000'0000u);
  EXPECT_EQ(b.nic.wire_bits_per_second, 25'000'000'000u);
  EXPECT_EQ(b.nic.mac_address[5], 0x0a);
  EXPECT_EQ(b.set.find("link.width")->origin, "m.yaml:4");
  EXPECT_EQ(b.set.find("link.tags")->origin, "default");
}

TEST(Parameters, DefaultThenFileThenEnvironmentThenSet) {
  Bench b;
  const char* environment[] = {"HOME=/", "POOLSIM_LINK_WIDTH=4", "POOLSIM_IOMMU_IOTLB_WAYS=8", nullptr};
  b.set.load_text("link: {width: 2, generation: 2, tags: 32}", "m.yaml");
  b.set.load_environment(environment);
  b.set.assign("link.generation=5");
  EXPECT_EQ(b.link.width, 4u);
  EXPECT_EQ(b.link.generation, 5u);
  EXPECT_EQ(b.link.tags, 32u);
  EXPECT_EQ(b.iommu.iotlb.ways, 8u);
  EXPECT_EQ(b.set.find("link.width")->origin, "environment POOLSIM_LINK_WIDTH");
  EXPECT_EQ(b.set.find("link.generation")->origin, "--set");
  EXPECT_EQ(b.set.find("link.tags")->origin, "m.yaml:1");
  EXPECT_EQ(b.set.find("link.generation")->default_text, "1");
}

TEST(Parameters, WrongKeysAreNamedWithTheNearest) {
  Bench b;
  EXPECT_EQ(b.load_error("link:\n  widht: 4\n"),
            "m.yaml:2: unknown key 'link.widht' (did you mean 'link.width'?)");
  EXPECT_EQ(b.load_error("\nlnk:\n  width: 4\n"), "m.yaml:2: unknown key 'lnk' (did you mean 'link'?)");
  EXPECT_EQ(b.load_error("iommu:\n  iotlb:\n    stes: 4\n"),
            "m.yaml:3: unknown key 'iommu.iotlb.stes' (did you mean 'iommu.iotlb.sets'?)");
  EXPECT_EQ(b.load_error("interconnect:\n  max_payload: 4\n"),
            "m.yaml:2: unknown key 'interconnect.max_payload' (did you mean 'link.max_payload'?)");
  EXPECT_EQ(b.load_error("imsic:\n  zzzzzzzzzz: 4\n"),
            "m.yaml:2: unknown key 'imsic.zzzzzzzzzz' (one of: base, identities)");
  EXPECT_EQ(b.load_error("link:\n  width: 4\n  tags: 32\n  width: 8\n"),
            "m.yaml:4: duplicate key 'link.width' (first in line 2)");
  EXPECT_EQ(b.load_error("link: {width: 4}\nlink: {width: 4}\n"),
            "m.yaml:2: duplicate key 'link' (first in line 1)");
}

TEST(Parameters, WrongValuesAreNamedWithTheirPlace) {
  Bench b;
  EXPECT_EQ(b.load_error("link:\n  width: wide\n"), "m.yaml:2: link.width: 'wide' is not an integer");
  EXPECT_EQ(b.load_error("link:\n  width: 64\n"), "m.yaml:2: link.width: 64 is out of range (1 to 32)");
  EXPECT_EQ(b.load_error("link:\n  latency: 5 s\n"),
            "m.yaml:2: link.latency: 5 s is out of range (0 fs to 1 ms)");
  EXPECT_EQ(b.load_error("link:\n  latency: 5\n"),
            "m.yaml:2: link.latency: '5' has no unit (it is a time, e.g. 10 us)");
  EXPECT_EQ(b.load_error("link:\n  ecrc: maybe\n"), "m.yaml:2: link.ecrc: 'maybe' is neither true nor false");
  EXPECT_EQ(b.load_error("iommu:\n  iotlb:\n    replacement: lruu\n"),
            "m.yaml:3: iommu.iotlb.replacement: no choice 'lruu' (did you mean 'lru'?)");
  EXPECT_EQ(b.load_error("link:\n  width: [1, 2]\n"),
            "m.yaml:2: link.width: a value is expected, this is a list");
  EXPECT_EQ(b.load_error("link:\n  width:\n"), "m.yaml:2: link.width: a value is expected, this is empty");
  EXPECT_EQ(b.load_error("link: 7\n"), "m.yaml:1: link: a section, not a value");
  EXPECT_EQ(b.load_error("- 1\n"), "m.yaml:1: a file of parameters is a map: 'section: ...'");
  EXPECT_EQ(b.load_error("iommu:\n  iotlb_page_sizes: [12, 99]\n"),
            "m.yaml:2: iommu.iotlb_page_sizes: 99 is out of range (12 to 57)");
  EXPECT_EQ(b.load_error("nic: {mac_address: 1}"),
            "m.yaml:1: nic.mac_address: '1' is not an Ethernet address, e.g. 52:54:00:12:34:56");
  EXPECT_TRUE(b.load_error("link:\n  width: [1\n").starts_with("m.yaml:")) << b.load_error("link: [1\n");
  EXPECT_EQ(b.load_error(""), "no error");
}

TEST(Parameters, WrongEnvironmentAndAssignments) {
  Bench b;
  const char* typo[] = {"POOLSIM_LINK_WIDHT=4", nullptr};
  EXPECT_EQ(error_of([&] { b.set.load_environment(typo); }),
            "environment: no parameter is called 'POOLSIM_LINK_WIDHT' (did you mean 'POOLSIM_LINK_WIDTH'?)");
  const char* value[] = {"POOLSIM_LINK_WIDTH=x", nullptr};
  EXPECT_EQ(error_of([&] { b.set.load_environment(value); }),
            "environment: POOLSIM_LINK_WIDTH: 'x' is not an integer");
  const auto assign = [&](const char* a) { return error_of([&] { b.set.assign(a); }); };
  EXPECT_EQ(assign("link.width"), "--set: 'link.width' is not of the form path=value");
  EXPECT_EQ(assign("link.widht=4"), "--set: unknown key 'link.widht' (did you mean 'link.width'?)");
  EXPECT_EQ(assign("iommu.iotbl.sets=4"),
            "--set: unknown key 'iommu.iotbl.sets' (did you mean 'iommu.iotlb.sets'?)");
  EXPECT_EQ(assign("iommu.iotlb=4"), "--set: 'iommu.iotlb' is a section (one of: sets, ways, replacement)");
  EXPECT_EQ(assign("link.width=99"), "--set: link.width: 99 is out of range (1 to 32)");
}

TEST(Parameters, AMissingFileIsNamed) {
  Bench b;
  EXPECT_EQ(error_of([&] { b.set.load_file("/nonexistent/m.yaml"); }), "/nonexistent/m.yaml: cannot be read");
}

TEST(Parameters, WhatOnlyValidateSeesGetsThePlaceToo) {
  Bench b;
  b.set.load_text("link:\n  width: 8\n  max_payload: 200 B\n", "m.yaml");
  EXPECT_EQ(error_of([&] { b.set.check([&] { b.link.validate(); }); }),
            "m.yaml:3: link.max_payload: 200 is not possible (a power of two, 128 to 4096 bytes)");
}

TEST(Parameters, TheDumpReadsBackToTheSameValues) {
  Bench a, b;
  a.set.load_text("link: {generation: 4, latency: 333 ns}\niommu: {iotlb_page_sizes: [12]}\n", "m.yaml");
  std::ostringstream out;
  a.set.dump(out);
  EXPECT_NE(out.str().find("  generation: 4                           # m.yaml:1\n"), std::string::npos)
      << out.str();
  EXPECT_NE(out.str().find("  width: 4                                # default\n"), std::string::npos);
  b.set.load_text(out.str(), "dump");
  for (const auto& p : a.set.parameters()) EXPECT_EQ(b.set.find(p.path)->text(), p.text()) << p.path;
  EXPECT_EQ(a.set.dump_json()["link.latency"]["value"], "333 ns");
  EXPECT_EQ(a.set.dump_json()["link.latency"]["origin"], "m.yaml:1");
}

bool valid(const nlohmann::json& schema_text, const std::string& yaml) {
  valijson::Schema schema;
  valijson::SchemaParser parser(valijson::SchemaParser::kDraft7);
  valijson::adapters::NlohmannJsonAdapter schema_adapter(schema_text);
  parser.populateSchema(schema_adapter, schema);
  const nlohmann::json document = nlohmann::json::parse(platform::to_json(YAML::Load(yaml)).dump());
  valijson::adapters::NlohmannJsonAdapter target(document);
  valijson::Validator validator;
  return validator.validate(schema, target, nullptr);
}

TEST(Parameters, TheSchemaAcceptsWhatIsAcceptedAndRefusesWhatIsRefused) {
  Bench b;
  const nlohmann::json schema = nlohmann::json::parse(b.set.schema().dump());
  std::ostringstream defaults;
  b.set.dump(defaults);
  const std::string good[] = {
      defaults.str(),
      "link: {width: 8, latency: 200 ns, max_payload: 256}",
      "link: {max_payload: 256 B, ecrc: true}",
      "root_port: {ecam_base: 0x50000000}",
      "iommu: {iotlb: {replacement: random}, iotlb_page_sizes: [12, 21, 30]}",
      "memory:\n",
      "scenario: {free: form}",
  };
  const std::string bad[] = {
      "lnk: {width: 8}",
      "link: {widht: 8}",
      "link: {width: wide}",
      "link: {width: 64}",
      "link: {latency: 5}",
      "link: {latency: 5 sec}",
      "link: {ecrc: maybe}",
      "link: 7",
      "iommu: {iotlb: {replacement: lruu}}",
      "iommu: {iotlb_page_sizes: [12, 99]}",
  };
  for (const std::string& y : good) {
    EXPECT_TRUE(valid(schema, y)) << y;
    Bench fresh;
    EXPECT_EQ(fresh.load_error(y.c_str()), "no error");
  }
  for (const std::string& y : bad) {
    EXPECT_FALSE(valid(schema, y)) << y;
    Bench fresh;
    EXPECT_NE(fresh.load_error(y.c_str()), "no error") << y;
  }
}

TEST(Parameters, EveryParameterIsDocumentedAndItsDefaultIsLegal) {
  Bench b;
  EXPECT_GT(b.set.parameters().size(), 180u);
  for (const auto& p : b.set.parameters()) {
    EXPECT_FALSE(p.doc.empty()) << p.path;
    const std::string before = p.text();
    EXPECT_EQ(error_of([&] { b.set.assign(p.path + "=" + before); }), "no error") << p.path;
    EXPECT_EQ(p.text(), before) << p.path;
  }
}

}  // namespace
