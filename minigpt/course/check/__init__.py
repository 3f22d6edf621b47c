"""The checks of all exercises: ``from minigpt.course import check``, then ``check.<exercise>(your_function)``.

One module for each lesson, and one line here for each module.
"""

from minigpt.course.check.attention_by_hand import dot_product_attention, score_divisor, softmax, softmax_jacobian
from minigpt.course.check.classification import alarms_and_misses, posterior, read_last
from minigpt.course.check.embeddings_and_positions import embedding_gradient, moved_on, nearest, pack
from minigpt.course.check.evaluation import best_per_byte, bits_each_byte, one_of_k, paired, wilson_interval
from minigpt.course.check.feed_forward import exactly_one, feed_forward_share, ffn, silenced
from minigpt.course.check.full_gpt import gpt_forward_flops, gpt_parameters, initialise, untie, your_gpt
from minigpt.course.check.generation import cached_attention, nucleus, sample_token, write_until_stop
from minigpt.course.check.gpt2_weights import conv1d_to_linear, head_weights, our_name, text_bits_per_byte
from minigpt.course.check.inside_the_model import (
    copying_score,
    random_labels,
    shares_by_place,
    taken_away,
)
from minigpt.course.check.instructions import answer_loss, chat_targets, render_chat, until_end
from minigpt.course.check.limits import (
    at_temperature,
    clip_each,
    exposure_of,
    kilowatt_hours,
    without_near_copies,
)
from minigpt.course.check.lora import adapted_layer, adapter_numbers, bytes_held, low_rank
from minigpt.course.check.loss_backprop_adamw import (
    adamw_step,
    cross_entropy_gradient,
    layer_norm_both_ways,
    numerical_gradient,
)
from minigpt.course.check.many_gpus import bytes_per_gpu, gather_step, loss_for_ddp, my_rows
from minigpt.course.check.modern_gpt import cache_bytes, rms_norm, swiglu_of_size, turned, unpermuted
from minigpt.course.check.multi_head_attention import attention_layer, causal_mask, join_heads, leaks, split_heads
from minigpt.course.check.next_token_game import bigram_probabilities, draw, perplexity_of
from minigpt.course.check.preferences import (
    answer_log_probability,
    best_of_n_kl,
    dpo,
    pair_loss,
    why_it_stays,
)
from minigpt.course.check.scaling_laws import best_split, fit_on_grid, law_error, power_law, straight_line
from minigpt.course.check.small_numbers import checked_guesses, make_block, nibbles, to_8_bits, tokens_a_pass
from minigpt.course.check.start_here import mean
from minigpt.course.check.tokenization import chat_prompt, encode_word, group_digits, merge, train_bpe
from minigpt.course.check.torch_and_slopes import by_columns, fit_line, linear_map, row_shares, softplus_slope
from minigpt.course.check.training_on_a_cpu import clip, training_step, warmup_stable_decay
from minigpt.course.check.training_on_a_gpu import intensity, mfu, next_scale, to_bfloat16
from minigpt.course.check.transformer_block import dropout, layer_norm, pre_norm_block, through_residuals
from minigpt.course.check.verified_rewards import clipped_gain, group_advantages, grpo_loss, happy_ending, k3
